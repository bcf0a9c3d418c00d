"""A compact event library on Redis Streams: typed events, at-least-once delivery, retries, dead letters.

Declare
    App, Event, upcast, Retry, RetryBudget, Retention
Declare and run sagas
    Saga, Step, NOTHING_TO_UNDO, SagaContext, Sagas, SagaRecord, SagaStep, SagaNote
Connect
    connect, Bus, Delivery, Batch, Observation
While Redis does not answer, a publish may
    Wait, Fail, Spool
A handler raises
    Reject, RetryAfter, Snooze
Look
    Backlog, ConsumerHealth, StreamHealth, GroupHealth, ServerInfo
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
    DataError, DecodeError, UnsupportedVersion
The world is wrong
    BrokerError, BrokerUnavailable, BrokerFull, AccessDenied, EvictingServer, MissingCommand, MissingGroup,
    MissingDeadLetter, MissingSaga, NoServer, PartlyPublished, SpoolFull, SpoolUnusable
It took too long
    WaitTimeout

`eventlib.testing` has tools for tests of your own handlers, `eventlib.catalog` the events of a reference system.
"""

from eventlib.broker.acl import acl_rules
from eventlib.bus import Bus, connect
from eventlib.consume.liveness import ConsumerHealth
from eventlib.dead_letter import DeadLetter
from eventlib.declare.app import App
from eventlib.declare.sagas import NOTHING_TO_UNDO, Saga, Step
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
    MissingSaga,
    NoServer,
    PartlyPublished,
    Reject,
    RetryAfter,
    Snooze,
    SpoolFull,
    SpoolUnusable,
    UnknownEventType,
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
from eventlib.records import Backlog, ServerInfo
from eventlib.retention import GroupHealth, Retention, StreamHealth
from eventlib.saga_context import SagaContext
from eventlib.sagas.operations import Sagas
from eventlib.sagas.records import SagaNote, SagaRecord, SagaStep
from eventlib.testing import private_server

__all__ = [  # noqa: RUF022 - a test holds the plain order
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
    "MissingSaga",
    "NOTHING_TO_UNDO",
    "NoServer",
    "Observation",
    "Outcome",
    "PartlyPublished",
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
    "SchemaChange",
    "Selection",
    "ServerInfo",
    "Snooze",
    "Spool",
    "SpoolFull",
    "SpoolUnusable",
    "Step",
    "StreamHealth",
    "UnknownEventType",
    "UnsupportedVersion",
    "UsageError",
    "Wait",
    "WaitTimeout",
    "acl_rules",
    "connect",
    "envelope_schema",
    "json_schema",
    "open_export",
    "private_server",
    "schema_changes",
    "upcast",
]
