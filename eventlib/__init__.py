"""A compact event library on Redis Streams: typed events, at-least-once delivery, retries, dead letters.

Declare
    App, Event, Retry
Connect
    connect, Bus, Delivery, Happening
A handler raises
    Reject, RetryAfter, Snooze
Look
    Backlog, DeadEntry, ServerInfo
Operate
    acl_rules
Develop
    private_server
All errors
    EventlibError
Your code is wrong
    UsageError, InvalidDeclaration, UnknownEventType, DuplicateHandler, BusClosed
The entry is wrong
    DataError, DecodeError, UnsupportedVersion
The world is wrong
    BrokerError, BrokerUnavailable, AccessDenied, MissingCommand, MissingGroup, NoServer
"""

from eventlib.access import acl_rules
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
from eventlib.policy import Retry
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
    "DataError",
    "DeadEntry",
    "DecodeError",
    "Delivery",
    "DuplicateHandler",
    "Event",
    "EventlibError",
    "Happening",
    "InvalidDeclaration",
    "MissingCommand",
    "MissingGroup",
    "NoServer",
    "Reject",
    "Retry",
    "RetryAfter",
    "ServerInfo",
    "Snooze",
    "UnknownEventType",
    "UnsupportedVersion",
    "UsageError",
    "acl_rules",
    "connect",
    "private_server",
]
