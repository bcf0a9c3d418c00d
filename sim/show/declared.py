"""What a page says of a scenario: its load and its services, as declared."""

from sim.declare.scenario import Scenario
from sim.declare.service import Service
from sim.evidence.history import History
from sim.evidence.metrics import sent_per_run
from sim.wording import quantity


def load_in_words(history: History) -> str:
    """What was sent, how, and how much of it."""
    scenario, load = history.scenario, history.scenario.offered_load
    sent = f"{load.events_in_words}: {load.in_words()}; {sent_per_run(history):,.0f} messages a run on average."
    if load.size_bytes is not None:
        sent = f"{sent[:-1]}; {load.size_bytes.in_words()}."
    if load.fields:
        said = ", ".join(f"{name} {kind.in_words()}" for name, kind in load.fields.items())
        sent = f"{sent[:-1]}; each says {said}."
    return " ".join((sent, *([scenario.callers.in_words(load.event)] if scenario.callers else [])))


def services_in_words(scenario: Scenario) -> tuple[list[dict[str, str]], dict[str, str]]:
    """A row for each service, without what is the same for all of them, and what that is."""
    rows = [_service(name, service) for name, service in scenario.services.items()]
    if not scenario.dependencies:
        rows = [{name: value for name, value in row.items() if name != "calls"} for row in rows]
    return _columns(rows)


def _columns(rows: list[dict[str, str]]) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The rows without the columns that say the same of all of them, and what these say."""
    same = {name: value for name, value in rows[0].items() if len({row[name] for row in rows}) == 1}
    if len(rows) == 1:
        return rows, {}
    return [{name: value for name, value in row.items() if name not in same} for row in rows], same


def _service(name: str, service: Service) -> dict[str, str]:
    retry = service.retry
    return {
        "service": name,
        "consumes": service.consumes,
        "messages come": service.comes_in_words,
        "emits": service.emits_in_words,
        "calls": ", ".join(service.uses) or "nothing",
        "consumers": service.consumers_in_words,
        "at once each": str(service.concurrency) + (f", {service.batch.in_words()}" if service.batch else ""),
        "one message takes": service.saga.in_words() if service.saga else service.takes_in_words,
        "fails": "each step as it says" if service.saga else f"{100 * service.error_rate:g} %",
        "tries": f"{retry.attempts}, waits {quantity(retry.wait_s, 's')} to {quantity(retry.wait_s_max, 's')}",
        "lease": quantity(service.lease_s, "s"),
    }
