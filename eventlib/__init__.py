"""A compact event library on Redis Streams: typed events, at-least-once delivery, retries, dead letters.

Declare
    App, Event, upcast, Retry, RetryBudget, Retention, Task, TaskCall, Rate
Connect
    connect, Bus, Delivery, Batch, Observation
While Redis does not answer, a publish may
    Wait, Fail, Spool
A handler raises
    Reject, RetryAfter, Snooze
Run tasks
    TaskHandle, TaskState, current_task, CurrentTask
Look
    Backlog, ConsumerHealth, StreamHealth, GroupHealth, QueueHealth, ServerInfo
Repair
    DeadLetters, DeadLetter, Selection, Outcome
Export and compare
    Registry, json_schema, envelope_schema, open_export, schema_changes, SchemaChange
Develop and operate
    private_server, acl_rules
All errors (a model's fields raise pydantic's ValidationError)
    EventlibError
Your code is wrong
    UsageError, InvalidDeclaration, InvalidArgument, UnknownEventType, DuplicateHandler, BusClosed, EventTooLarge
The entry is wrong
    DataError, DecodeError, UnsupportedVersion, UnknownTask
A task has no result, or is not enqueued
    TaskFailed, TaskCancelled, MissingTask, WaitTimeout, TaskWaitTimeout, UniqueKeyInUse
The world is wrong
    BrokerError, BrokerUnavailable, BrokerFull, AccessDenied, EvictingServer, MissingCommand, MissingGroup,
    MissingDeadLetter, NoServer, PartlyPublished, SpoolFull, SpoolUnusable

`eventlib.testing` has tools for tests of your own handlers, `eventlib.catalog` the events of a reference system.
"""

from eventlib.broker.acl import acl_rules
from eventlib.bus import Bus, connect
from eventlib.consume.liveness import ConsumerHealth
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
    EvictingServer,
    InvalidArgument,
    InvalidDeclaration,
    MissingCommand,
    MissingDeadLetter,
    MissingGroup,
    MissingTask,
    NoServer,
    PartlyPublished,
    Reject,
    RetryAfter,
    Snooze,
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
from eventlib.events.compatibility import SchemaChange, schema_changes
from eventlib.events.registry import Registry, envelope_schema, json_schema, open_export
from eventlib.events.schema import Event, upcast
from eventlib.operate.dead_letters import DeadLetters, Outcome
from eventlib.operate.selection import Selection
from eventlib.policy import Retry, RetryBudget
from eventlib.publish.outage import Fail, Spool, Wait
from eventlib.records import Backlog, QueueHealth, ServerInfo
from eventlib.retention import GroupHealth, Retention, StreamHealth
from eventlib.tasks.current import CurrentTask, current_task
from eventlib.tasks.queues import TaskHandle
from eventlib.tasks.state import TaskState
from eventlib.testing import private_server

__all__ = [
    "AccessDenied",
    "App",
    "Backlog",
    "Batch",
    "BrokerError",
    "BrokerFull",
    "BrokerUnavailable",
    "Bus",
    "BusClosed",
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
    "EventlibError",
    "EvictingServer",
    "Fail",
    "GroupHealth",
    "InvalidArgument",
    "InvalidDeclaration",
    "MissingCommand",
    "MissingDeadLetter",
    "MissingGroup",
    "MissingTask",
    "NoServer",
    "Observation",
    "Outcome",
    "PartlyPublished",
    "QueueHealth",
    "Rate",
    "Registry",
    "Reject",
    "Retention",
    "Retry",
    "RetryAfter",
    "RetryBudget",
    "SchemaChange",
    "Selection",
    "ServerInfo",
    "Snooze",
    "Spool",
    "SpoolFull",
    "SpoolUnusable",
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
    "acl_rules",
    "connect",
    "current_task",
    "envelope_schema",
    "json_schema",
    "open_export",
    "private_server",
    "schema_changes",
    "upcast",
]
