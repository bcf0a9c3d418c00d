"""Errors say whose fault it is and how to fix it, and can be sent between processes."""

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import eventlib as ev
from eventlib import errors, signals

DEFINED = [*vars(errors).values(), *vars(signals).values()]
CLASSES = [c for c in DEFINED if inspect.isclass(c) and issubclass(c, Exception)]
MADE_OF: dict[Any, Any] = {str: "text", int: 3, float: 1.5, tuple[str, ...]: ("e1", "e2")}


def made(error_class: type[Exception]) -> Exception:
    """One of the class, with an argument of the right type for each parameter."""
    if "__init__" not in {name for c in error_class.__mro__[:-3] for name in vars(c)}:
        return error_class()
    parameters = list(inspect.signature(error_class.__init__).parameters.values())[1:]
    return error_class(*[MADE_OF[p.annotation] for p in parameters])


@pytest.mark.parametrize("error_class", CLASSES)
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, lambda e: type(e)(*e.args)])
def test_every_error_can_be_rebuilt(error_class: type[Exception], again: Callable[[Exception], Exception]) -> None:
    error = made(error_class)
    rebuilt = again(error)
    assert type(rebuilt) is error_class
    assert (str(rebuilt), rebuilt.args, vars(rebuilt)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("error_class", CLASSES)
def test_every_field_can_be_read(error_class: type[Exception]) -> None:
    error = made(error_class)
    assert list(vars(error).values()) == list(error.args)


def test_each_error_belongs_to_its_family() -> None:
    def family(parent: type[Exception]) -> set[str]:
        return {c.__name__ for c in CLASSES if issubclass(c, parent) and c is not parent}

    assert family(ev.UsageError) == {
        *(
            "InvalidDeclaration",
            "InvalidSettings",
            "InvalidArgument",
            "UnknownEventType",
            "DuplicateHandler",
            "BusClosed",
        ),
        *("EventTooLarge", "ScheduleExists"),
    }
    assert family(ev.DataError) == {"DecodeError", "UnsupportedVersion", "UnknownTask"}
    assert family(ev.BrokerError) == {
        *("BrokerUnavailable", "AccessDenied", "EvictingServer", "MissingCommand", "MissingGroup", "MissingDeadLetter"),
        *("NoServer", "BrokerFull", "PartlyPublished", "SpoolFull", "SpoolUnusable", "MissingQueue", "MissingTask"),
        *("MissingSaga", "MissingSchedule"),
    }
    assert family(signals.Signal) == {"Reject", "RetryAfter", "Snooze"}


def test_a_signal_of_a_handler_is_no_eventlib_error() -> None:
    """`except EventlibError` in a handler must not catch Reject, RetryAfter and Snooze."""
    assert not issubclass(signals.Signal, ev.EventlibError)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ev.InvalidDeclaration("group 'a'", "is already set; set each group once"), ["group 'a'", "once"]),
        (ev.UnknownEventType("Order"), ["Order", "type=", "stream="]),
        (ev.DuplicateHandler("billing", "order.placed"), ["billing", "order.placed", "another group"]),
        (ev.BusClosed(), ["closed", "async with connect"]),
        (ev.EventTooLarge("file.uploaded", 20_000_000, 16_000_000), ["file.uploaded", "20,000,000", "elsewhere"]),
        (ev.DecodeError("not JSON"), ["not JSON"]),
        (ev.UnsupportedVersion("order.placed", 3, 1, 2), ["order.placed", "3", "1 to 2", "update", "replay"]),
        (ev.UnsupportedVersion("order.placed", 1, 2, 2), ["reads 2", "upcaster", "replay"]),
        (ev.BrokerUnavailable("redis://here", "no answer"), ["redis://here", "no answer"]),
        (ev.PartlyPublished("redis://here", "no answer", ("e1", "e2")), ["redis://here", "no answer", "2 events"]),
    ],
)
def test_a_message_names_the_place_and_what_to_do(error: Exception, told: list[str]) -> None:
    assert all(part in str(error) for part in told)
