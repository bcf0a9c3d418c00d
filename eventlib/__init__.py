"""A compact event library on Redis Streams: typed events, at-least-once delivery, retries, dead letters.

Declare
    App, Event, upcast, Retry, RetryBudget, CircuitBreaker, Retention, Task, TaskCall, Rate
Declare and run sagas
    Saga, Step, NOTHING_TO_UNDO, SagaContext, Sagas, SagaRecord, SagaStep, SagaNote
Connect
    connect, Bus, Delivery, Batch, Observation, Client
While Redis does not answer, a publish may
    Wait, Fail, Spool
Wait for an event by its correlation id
    Waiting, new_correlation_id
A handler raises
    Reject, RetryAfter, Snooze
Run tasks
    TaskHandle, TaskState, current_task, CurrentTask, Schedule, ScheduleRule, SlotRecord
Look
    health_app, HealthServer, Backlog, GroupPause, PauseRecord, ConsumerHealth, ConsumerCounts, ClientHealth,
    StreamHealth, GroupHealth, QueueHealth, ServerInfo
Repair
    DeadLetters, DeadLetter, Selection, Outcome
Export and compare
    Registry, json_schema, envelope_schema, open_export, schema_changes, SchemaChange
Develop and operate
    private_server, acl_rules, Settings, load_settings
All errors (a model's fields raise pydantic's ValidationError)
    EventlibError
Your code is wrong
    UsageError, InvalidDeclaration, InvalidArgument, InvalidSettings, UnknownEventType, DuplicateHandler, BusClosed,
    EventTooLarge, ScheduleExists
The entry is wrong
    DataError, DecodeError, UnsupportedVersion, UnknownTask
A task has no result, or is not enqueued
    TaskFailed, TaskCancelled, UniqueKeyInUse
The world is wrong
    BrokerError, BrokerUnavailable, BrokerFull, AccessDenied, EvictingServer, MissingCommand, MissingGroup,
    MissingDeadLetter, MissingQueue, MissingSaga, MissingSchedule, MissingTask, NoServer, PartlyPublished, SpoolFull,
    SpoolUnusable
What was awaited has not happened in time
    WaitTimeout, EventWaitTimeout, TaskWaitTimeout

`eventlib.testing` has tools for tests of your own handlers, `eventlib.catalog` the events of a reference system.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventlib.bus import Bus, connect
from eventlib.circuit_breaker import CircuitBreaker
from eventlib.dead_letter import DeadLetter
from eventlib.declare.app import App
from eventlib.declare.tasks import Rate, Task, TaskCall
from eventlib.delivery import Batch, Delivery, Observation
from eventlib.errors import (
    AccessDenied,
    BrokerError,
    BrokerFull,
    BrokerUnavailable,
    BusClosed,
    DataError,
    DecodeError,
    DuplicateHandler,
    EventlibError,
    EventTooLarge,
    EventWaitTimeout,
    EvictingServer,
    InvalidArgument,
    InvalidDeclaration,
    InvalidSettings,
    MissingCommand,
    MissingDeadLetter,
    MissingGroup,
    MissingQueue,
    MissingSaga,
    MissingSchedule,
    MissingTask,
    NoServer,
    PartlyPublished,
    ScheduleExists,
    SpoolFull,
    SpoolUnusable,
    TaskCancelled,
    TaskFailed,
    TaskWaitTimeout,
    UniqueKeyInUse,
    UnknownEventType,
    UnknownTask,
    UnsupportedVersion,
    UsageError,
    WaitTimeout,
)
from eventlib.events.correlation import new_correlation_id
from eventlib.events.schema import Event, upcast
from eventlib.health.looking import health_app
from eventlib.operate.selection import Selection
from eventlib.policy import Retry, RetryBudget
from eventlib.publish.outage import Fail, Spool, Wait
from eventlib.records import Backlog, GroupPause, PauseRecord, QueueHealth, ServerInfo, SlotRecord
from eventlib.replies.waiting import Waiting
from eventlib.retention import GroupHealth, Retention, StreamHealth
from eventlib.signals import Reject, RetryAfter, Snooze
from eventlib.tasks.current import CurrentTask, current_task
from eventlib.tasks.queues import TaskHandle
from eventlib.tasks.state import TaskState

if TYPE_CHECKING:  # for type checkers and editors; at run time `__getattr__` imports these
    from eventlib.access import acl_rules

    __version__: str
    from eventlib.client.client import Client, ClientHealth
    from eventlib.consume.liveness import ConsumerHealth
    from eventlib.counts import ConsumerCounts
    from eventlib.declare.sagas import NOTHING_TO_UNDO, Saga, Step
    from eventlib.events.compatibility import SchemaChange, schema_changes
    from eventlib.events.registry import Registry, envelope_schema, json_schema, open_export
    from eventlib.operate.dead_letters import DeadLetters, Outcome
    from eventlib.operate.serving import HealthServer
    from eventlib.saga_context import SagaContext
    from eventlib.sagas.operations import Sagas
    from eventlib.sagas.records import SagaNote, SagaRecord, SagaStep
    from eventlib.schedules.state import Schedule
    from eventlib.scheduling import ScheduleRule
    from eventlib.settings import Settings, load_settings
    from eventlib.testing import private_server

__all__ = [
    "NOTHING_TO_UNDO",
    "AccessDenied",
    "App",
    "Backlog",
    "Batch",
    "BrokerError",
    "BrokerFull",
    "BrokerUnavailable",
    "Bus",
    "BusClosed",
    "CircuitBreaker",
    "Client",
    "ClientHealth",
    "ConsumerCounts",
    "ConsumerHealth",
    "CurrentTask",
    "DataError",
    "DeadLetter",
    "DeadLetters",
    "DecodeError",
    "Delivery",
    "DuplicateHandler",
    "Event",
    "EventTooLarge",
    "EventWaitTimeout",
    "EventlibError",
    "EvictingServer",
    "Fail",
    "GroupHealth",
    "GroupPause",
    "HealthServer",
    "InvalidArgument",
    "InvalidDeclaration",
    "InvalidSettings",
    "MissingCommand",
    "MissingDeadLetter",
    "MissingGroup",
    "MissingQueue",
    "MissingSaga",
    "MissingSchedule",
    "MissingTask",
    "NoServer",
    "Observation",
    "Outcome",
    "PartlyPublished",
    "PauseRecord",
    "QueueHealth",
    "Rate",
    "Registry",
    "Reject",
    "Retention",
    "Retry",
    "RetryAfter",
    "RetryBudget",
    "Saga",
    "SagaContext",
    "SagaNote",
    "SagaRecord",
    "SagaStep",
    "Sagas",
    "Schedule",
    "ScheduleExists",
    "ScheduleRule",
    "SchemaChange",
    "Selection",
    "ServerInfo",
    "Settings",
    "SlotRecord",
    "Snooze",
    "Spool",
    "SpoolFull",
    "SpoolUnusable",
    "Step",
    "StreamHealth",
    "Task",
    "TaskCall",
    "TaskCancelled",
    "TaskFailed",
    "TaskHandle",
    "TaskState",
    "TaskWaitTimeout",
    "UniqueKeyInUse",
    "UnknownEventType",
    "UnknownTask",
    "UnsupportedVersion",
    "UsageError",
    "Wait",
    "WaitTimeout",
    "Waiting",
    "acl_rules",
    "connect",
    "current_task",
    "envelope_schema",
    "health_app",
    "json_schema",
    "load_settings",
    "new_correlation_id",
    "open_export",
    "private_server",
    "schema_changes",
    "upcast",
]


# What only some programs use. The catalog's classes alone, which a client needs, take a tenth of a second to make.
_MODULES = {
    "eventlib.access": ["acl_rules"],
    "eventlib.consume.liveness": ["ConsumerHealth"],
    "eventlib.counts": ["ConsumerCounts"],
    "eventlib.client.client": ["Client", "ClientHealth"],
    "eventlib.declare.sagas": ["NOTHING_TO_UNDO", "Saga", "Step"],
    "eventlib.events.compatibility": ["SchemaChange", "schema_changes"],
    "eventlib.events.registry": ["Registry", "envelope_schema", "json_schema", "open_export"],
    "eventlib.operate.dead_letters": ["DeadLetters", "Outcome"],
    "eventlib.operate.serving": ["HealthServer"],
    "eventlib.scheduling": ["ScheduleRule"],
    "eventlib.saga_context": ["SagaContext"],
    "eventlib.sagas.operations": ["Sagas"],
    "eventlib.sagas.records": ["SagaNote", "SagaRecord", "SagaStep"],
    "eventlib.schedules.state": ["Schedule"],
    "eventlib.settings": ["Settings", "load_settings"],
    "eventlib.testing": ["private_server"],
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, if only some programs use it."""
    if name == "__version__":
        from importlib.metadata import version

        return version("event-workbench")
    for module, names in _MODULES.items():
        if name in names:
            globals()[name] = found = getattr(import_module(module), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
