"""Whatever happens to a saga, it ends completed, compensated or parked, and its steps agree with that."""

import random
from dataclasses import replace
from typing import get_args

import pytest

from eventlib import saga_policy as policy
from eventlib.saga_policy import ENDED, Move, SagaState, StepPlan, Undo, Unknown


def plan_of(rng: random.Random) -> tuple[StepPlan, ...]:
    names = "abcd"[: rng.randint(1, 4)]
    return tuple(StepPlan(name, rng.choice(get_args(Undo)), rng.choice(get_args(Unknown))) for name in names)


def run(seed: int) -> tuple[SagaState, list[tuple[str, str]]]:
    """One saga to which anything happens. How it stands in the end, and the acts that ended well, in their order."""
    rng = random.Random(seed)
    move, acts = policy.started(plan_of(rng)), list[tuple[str, str]]()
    for _ in range(100):
        state = move.state
        if state.status in (*ENDED, "parked"):
            return state, acts
        if rng.random() < 0.1 and (asked := policy.cancelled(state, "asked")) is not None:
            move = asked
            continue
        lost, state = state.running, replace(state, running=True, begun=state.begun + 1)
        begun = policy.begun(state, lost)
        if begun is not None and begun.ends_act:
            move = begun
            continue
        move = begun or Move(state, False, "")
        if rng.random() < 0.1:  # the worker ends
            continue
        move = happened(rng, move.state, acts)
    raise AssertionError(f"it never ends: {move}")


def happened(rng: random.Random, state: SagaState, acts: list[tuple[str, str]]) -> Move:
    match rng.choice(("done", "done", "done", "again", "unknown", "rejected", "failed", "unknown for good")):
        case "done":
            acts.append((state.act, state.step.name))
            return policy.done(state)
        case "again":
            return policy.attempt_failed(state, "?")
        case "unknown" if state.act == "do":
            return policy.unknown(state, "?")
        case "rejected":
            return policy.failed(state, "rejected", "?")
        case "unknown for good":
            return policy.failed(state, "unknown", "?")
        case _:
            return policy.failed(state, "failed", "?")


@pytest.mark.parametrize("seeds", [range(n, n + 500) for n in range(0, 3000, 500)], ids=str)
def test_every_end_agrees_with_what_was_done(seeds: range) -> None:
    for seed in seeds:
        state, acts = run(seed)
        done = [name for act, name in acts if act == "do"]
        undone = [name for act, name in acts if act == "undo"]
        by_name = dict(zip([step.name for step in state.plan], state.steps, strict=True))
        assert undone == sorted(undone, reverse=True) and len(set(undone)) == len(undone), seed
        if state.status == "completed":
            assert set(state.steps) == {"done"} and not undone, seed
        elif state.status == "compensated":
            assert not {"done", "unknown"} & set(state.steps), seed
            assert all(by_name[step.name] == "undone" for step in state.plan if step.name in done), seed
            assert all(step.name in undone or step.undo != "undo" for step in state.plan if step.name in done), seed
        else:
            assert state.why, seed


def test_an_act_that_ended_is_out_of_date() -> None:
    """Each move that ends an act has another number of the act. One that goes on keeps it."""
    state = policy.started((StepPlan("a", "undo", "retry"), StepPlan("b", "undo", "park"))).state
    for move in (policy.done(state), policy.failed(state, "failed", "?"), policy.failed(state, "rejected", "?")):
        assert move.ends_act and move.state.seq == state.seq + 1
    for move in (policy.attempt_failed(state, "?"), policy.unknown(state, "?")):
        assert not move.ends_act and move.state.seq == state.seq


def test_what_is_unknown_once_stays_so_until_it_is_done() -> None:
    state = policy.started((StepPlan("a", "undo", "retry"), StepPlan("b", "none", "retry"))).state
    doubtful = policy.unknown(policy.done(state).state, "?").state
    assert policy.failed(doubtful, "failed", "?").state.status == "parked"  # b may be done, and cannot be undone
    assert policy.done(doubtful).state.status == "completed"


def test_a_cancel_counts_when_the_last_step_is_done() -> None:
    state = replace(policy.started((StepPlan("a", "undo", "retry"),)).state, running=True)
    asked = policy.cancelled(state, "asked")
    assert asked is not None and asked.state.status == "cancelling" and not asked.ends_act
    assert policy.done(asked.state).state.status == "compensating"
    assert policy.attempt_failed(asked.state, "?").state.status == "compensating"  # no other attempt
    assert policy.cancelled(asked.state, "again") is None


def test_time_that_is_over_does_not_take_a_parked_saga_from_its_operator() -> None:
    state = policy.started((StepPlan("a", "undo", "park"),)).state
    parked = policy.unknown(state, "?").state
    assert parked.status == "parked" and policy.timed_out(parked, "late") is None
    asked = policy.cancelled(parked, "asked")
    assert asked is not None and (asked.state.status, asked.state.act) == ("compensating", "undo")


def test_what_was_parked_while_it_compensated_goes_on_for_the_first_reason() -> None:
    plan = (StepPlan("a", "undo", "retry"), StepPlan("b", "undo", "retry"))
    compensating = policy.failed(policy.done(policy.started(plan).state).state, "failed", "no van").state
    parked = policy.failed(compensating, "failed", "no bank").state
    assert (parked.status, parked.why) == ("parked", "the undo of step b failed: no bank")
    for again in (policy.retried(parked), policy.resolved(parked, "undone")):
        assert isinstance(again, Move) and again.state.why == "step b failed: no van"
