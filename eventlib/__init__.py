"""A compact event library on Redis Streams: typed events, at-least-once delivery, retries, dead letters.

Declare
    App, Event, Retry, Retention
Connect
    connect, Bus, Delivery, Happening
A handler raises
    Reject, RetryAfter, Snooze
Look
    Backlog, DeadEntry, ServerInfo, ConsumerHealth, StreamHealth, GroupHealth
Develop
    private_server
All errors
    EventlibError
Your code is wrong
    UsageError, InvalidDeclaration, UnknownEventType, DuplicateHandler, BusClosed
The entry is wrong
    DataError, DecodeError, UnsupportedVersion
The world is wrong
    BrokerError, BrokerUnavailable, AccessDenied, EvictingServer, MissingCommand, MissingGroup, NoServer
"""

from eventlib.app import App
from eventlib.broker import Backlog, DeadEntry, ServerInfo
from eventlib.bus import Bus, connect
from eventlib.delivery import Delivery, Happening
from eventlib.errors import (
    AccessDenied,
    BrokerError,
    BrokerUnavailable,
    BusClosed,
    DataError,
    DecodeError,
    DuplicateHandler,
    EventlibError,
    EvictingServer,
    InvalidDeclaration,
    MissingCommand,
    MissingGroup,
    NoServer,
    Reject,
    RetryAfter,
    Snooze,
    UnknownEventType,
    UnsupportedVersion,
    UsageError,
)
from eventlib.health import ConsumerHealth
from eventlib.policy import Retry
from eventlib.retention import GroupHealth, Retention, StreamHealth
from eventlib.schema import Event
from eventlib.server import private_server

__all__ = [
    "AccessDenied",
    "App",
    "Backlog",
    "BrokerError",
    "BrokerUnavailable",
    "Bus",
    "BusClosed",
    "ConsumerHealth",
    "DataError",
    "DeadEntry",
    "DecodeError",
    "Delivery",
    "DuplicateHandler",
    "Event",
    "EventlibError",
    "EvictingServer",
    "GroupHealth",
    "Happening",
    "InvalidDeclaration",
    "MissingCommand",
    "MissingGroup",
    "NoServer",
    "Reject",
    "Retention",
    "Retry",
    "RetryAfter",
    "ServerInfo",
    "Snooze",
    "StreamHealth",
    "UnknownEventType",
    "UnsupportedVersion",
    "UsageError",
    "connect",
    "private_server",
]
