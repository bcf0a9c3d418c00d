"""A compact event library on Redis Streams: typed events, at-least-once delivery, retries, dead letters.

Declare
    App, Event, Retry
Connect
    connect, Bus, Delivery, Happening
While Redis is away, a publish may
    Wait, Fail, Spool
A handler raises
    Reject, RetryAfter, Snooze
Look
    Backlog, DeadEntry, ServerInfo
Develop
    private_server
All errors
    EventlibError
Your code is wrong
    UsageError, InvalidDeclaration, UnknownEventType, DuplicateHandler, BusClosed, EventTooLarge, UnencodableEvent
The entry is wrong
    DataError, DecodeError, UnsupportedVersion
The world is wrong
    BrokerError, BrokerUnavailable, AccessDenied, MissingCommand, MissingGroup, NoServer, BrokerFull, PartlyPublished,
    SpoolFull, SpoolUnusable
"""

from eventlib.app import App
from eventlib.away import Fail, Spool, Wait
from eventlib.broker import Backlog, DeadEntry, ServerInfo
from eventlib.bus import Bus, connect
from eventlib.delivery import Delivery, Happening
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
    InvalidDeclaration,
    MissingCommand,
    MissingGroup,
    NoServer,
    PartlyPublished,
    Reject,
    RetryAfter,
    Snooze,
    SpoolFull,
    SpoolUnusable,
    UnencodableEvent,
    UnknownEventType,
    UnsupportedVersion,
    UsageError,
)
from eventlib.policy import Retry
from eventlib.schema import Event
from eventlib.server import private_server

__all__ = [
    "AccessDenied",
    "App",
    "Backlog",
    "BrokerError",
    "BrokerFull",
    "BrokerUnavailable",
    "Bus",
    "BusClosed",
    "DataError",
    "DeadEntry",
    "DecodeError",
    "Delivery",
    "DuplicateHandler",
    "Event",
    "EventTooLarge",
    "EventlibError",
    "Fail",
    "Happening",
    "InvalidDeclaration",
    "MissingCommand",
    "MissingGroup",
    "NoServer",
    "PartlyPublished",
    "Reject",
    "Retry",
    "RetryAfter",
    "ServerInfo",
    "Snooze",
    "Spool",
    "SpoolFull",
    "SpoolUnusable",
    "UnencodableEvent",
    "UnknownEventType",
    "UnsupportedVersion",
    "UsageError",
    "Wait",
    "connect",
    "private_server",
]
