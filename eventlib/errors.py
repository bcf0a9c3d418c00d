"""Errors say whose fault it is: your code, the entry, or the world.

Callers branch on types and fields, never on text. Every error takes positional arguments only, so that it can be
rebuilt from ``error.args`` and pickled.
"""


class EventlibError(Exception):
    """Anything that eventlib itself raises. Mend: see its kinds."""


class _Placed(Exception):
    """What names a place and a problem."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where = where
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class UsageError(EventlibError):
    """Your code is wrong. Never retried. Mend: change the code."""


class InvalidDeclaration(_Placed, UsageError):
    """An event, group or subscription is declared in a way that cannot work. Mend: `problem` says what to change."""


class UnknownEventType(UsageError):
    """The class has no event type of its own, so it cannot be published or subscribed to.

    Mend: give the class `type=`, `version=` and `stream=`.
    """

    def __init__(self, class_name: str) -> None:
        super().__init__(class_name)
        self.class_name = class_name

    def __str__(self) -> str:
        return (
            f"{self.class_name} declares no event type; write "
            f'`class {self.class_name}(Event, type="area.happened", version=1, stream="area")`'
        )


class DuplicateHandler(UsageError):
    """Two handlers of one group ask for the same event type. Mend: give one of them a group of its own."""

    def __init__(self, group: str, event_type: str) -> None:
        super().__init__(group, event_type)
        self.group = group
        self.event_type = event_type

    def __str__(self) -> str:
        return f"group {self.group!r} already has a handler for {self.event_type!r}; use another group to fan out"


class InvalidArgument(_Placed, UsageError):
    """A call got an argument that it cannot use: an event that has no JSON form, or a malformed trace context.

    Mend: `problem` says what to give; `where` names the call.
    """


class InvalidSettings(_Placed, UsageError):
    """A setting from the environment or a file is unknown, or has a value that it cannot have.

    Mend: `problem` says what it may be, or names the nearest setting; `workbench settings` shows all.
    """


class BusClosed(UsageError):
    """The bus, or the client, was used outside of its `async with` block. Mend: use it inside of the block."""

    def __str__(self) -> str:
        return (
            "the bus is closed; use it inside `async with connect(...)`, and a client inside `async with Client(...)`"
        )


class EventTooLarge(UsageError):
    """The event takes more bytes on the wire than may be published. Nothing was sent.

    Mend: publish where the content is.
    """

    def __init__(self, event_type: str, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(event_type, size_bytes, size_bytes_max)
        self.event_type = event_type
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max

    def __str__(self) -> str:
        return (
            f"{self.event_type} of {self.size_bytes:,} bytes; at most {self.size_bytes_max:,} can be published: "
            "store the content elsewhere and publish its location"
        )


class DataError(EventlibError):
    """The entry is wrong. It goes to the dead-letter queue at once, with its bytes unchanged.

    Mend: replay it when this program, or the publisher, is mended.
    """


class DecodeError(DataError):
    """The entry is not a valid event. Mend: mend its publisher; `workbench dlq edit` and `replay` save the entry."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"entry cannot be decoded: {self.reason}"


class UnsupportedVersion(DataError):
    """This program cannot read the version of the event in the entry. It reads versions `oldest` to `newest`.

    Mend: update this program, or add an upcaster; then replay the dead letter.
    """

    def __init__(self, event_type: str, version: int, oldest: int, newest: int) -> None:
        super().__init__(event_type, version, oldest, newest)
        self.event_type = event_type
        self.version = version
        self.oldest = oldest
        self.newest = newest

    def __str__(self) -> str:
        remedy = "update this program" if self.version > self.newest else "add an upcaster from that version"
        readable = str(self.newest) if self.oldest == self.newest else f"{self.oldest} to {self.newest}"
        return (
            f"{self.event_type} version {self.version} cannot be read here: this program reads {readable}; "
            f"{remedy}, then replay the entry"
        )


class UnknownTask(DataError):
    """This worker has no task of the name. The program that enqueued it and this one differ, or it was renamed.

    Mend: declare it here, then replay the dead letter.
    """

    def __init__(self, name: str, queue: str) -> None:
        super().__init__(name, queue)
        self.name = name
        self.queue = queue

    def __str__(self) -> str:
        return f"no task {self.name!r} is declared here for queue {self.queue!r}; update this program, then replay it"


class WaitTimeout(EventlibError):
    """What was waited for has not happened within `timeout_s` seconds. It may still happen. Mend: wait again."""

    def __init__(self, what: str, timeout_s: float) -> None:
        super().__init__(what, timeout_s)
        self.what = what
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return f"{self.what} after {self.timeout_s:g} s"


class EventWaitTimeout(WaitTimeout):
    """No event of the awaited `types` with this correlation id came within `timeout_s` seconds.

    `seen` are the types of other events that came with it. `__cause__` is a BrokerError if the server could not be
    reached: then the event may be there all the same. Mend: call `bus.reply` later, or see whether the service that
    replies runs.
    """

    def __init__(self, types: tuple[str, ...], correlation_id: str, timeout_s: float, seen: tuple[str, ...]) -> None:
        Exception.__init__(self, types, correlation_id, timeout_s, seen)
        self.types = types
        self.correlation_id = correlation_id
        self.timeout_s = timeout_s
        self.seen = seen

    def __str__(self) -> str:
        seen = f"; with it came {', '.join(self.seen)}" if self.seen else ""
        return (
            f"no {' or '.join(self.types)} with correlation id {self.correlation_id!r} within {self.timeout_s:g} s"
            f"{seen}; if it comes later, bus.reply(correlation_id, ...) finds it"
        )


class TaskWaitTimeout(WaitTimeout):
    """The task had not ended within `timeout_s` seconds. It goes on, and may be waited for again.

    Mend: `workbench tasks show` says how it stands.
    """

    def __init__(self, task_id: str, timeout_s: float) -> None:
        Exception.__init__(self, task_id, timeout_s)
        self.task_id = task_id
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return f"task {self.task_id} had not ended within {self.timeout_s:g} s"


class TaskFailed(EventlibError):
    """The task was given up. `dead_letter_id` is its id in the dead-letter queue, from where it can be replayed.

    Mend: mend what `error` says first.
    """

    def __init__(self, task_id: str, reason: str, error: str, dead_letter_id: str) -> None:
        super().__init__(task_id, reason, error, dead_letter_id)
        self.task_id = task_id
        self.reason = reason
        self.error = error
        self.dead_letter_id = dead_letter_id

    def __str__(self) -> str:
        return f"task {self.task_id} was given up ({self.reason}): {self.error}"


class TaskCancelled(EventlibError):
    """The task was cancelled, so it has no result. Mend: enqueue it again if it is wanted."""

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.task_id = task_id

    def __str__(self) -> str:
        return f"task {self.task_id} was cancelled"


class UniqueKeyInUse(EventlibError):
    """A task with the same unique key is queued, runs, or ran lately. Nothing was enqueued. `task_id` has the key.

    Mend: wait for that task.
    """

    def __init__(self, key: str, task_id: str) -> None:
        super().__init__(key, task_id)
        self.key = key
        self.task_id = task_id

    def __str__(self) -> str:
        return f"unique key {self.key!r} is in use by task {self.task_id}"


class BrokerError(_Placed, EventlibError):
    """The world is wrong: the server, the network or its configuration. Mend: `problem` says what."""


class BrokerUnavailable(BrokerError):
    """The server did not answer. The call may or may not have taken effect; repeating it is safe.

    Mend: repeat it, or choose another outage policy.
    """


class AccessDenied(BrokerError):
    """The server answered and refused: password, user, permission or TLS.

    Mend: correct the URL, the ACL or the certificate.
    """


class EvictingServer(BrokerError):
    """The server deletes keys when it is full, and the caller refuses such a server.

    Mend: set `maxmemory-policy noeviction`.
    """


class MissingCommand(BrokerError):
    """The server lacks a command that eventlib needs. Mend: use Redis 7.0 or newer."""


class MissingGroup(BrokerError):
    """The consumer group or its stream is gone: the server was flushed or failed over, or it was deleted.

    Mend: correct the name, or start its consumers, which make it.
    """


class MissingDeadLetter(BrokerError):
    """The dead letter is not in its queue: it was replayed or purged, or it never existed.

    Mend: list the queue again.
    """


class MissingTask(BrokerError):
    """The queue knows no task of this id: its result was kept for long enough, or it was never enqueued there.

    Mend: correct the id or the queue, or keep results for longer (`keep_result_s`).
    """


class MissingQueue(BrokerError):
    """There is no task queue of this name: it never had a task, a schedule or a worker. Mend: correct the name."""


class MissingSaga(BrokerError):
    """There is no saga of this name, or of this id: it was never started, or it has ended and is no longer kept.

    Mend: correct the name or the id, or keep sagas for longer (`keep_s`).
    """


class MissingSchedule(BrokerError):
    """There is no schedule of this name: it was removed, or it never existed. Mend: correct the name."""


class BrokerFull(BrokerUnavailable):
    """The server has no memory left (maxmemory) and evicts nothing. It did no part of the request.

    It is waited for as in any outage: trimming, expiry or an operator may free memory. Mend: raise `maxmemory`, or keep
    less (`ev.Retention`).
    """


class PartlyPublished(BrokerError):
    """Some events of one call were appended before the server failed: those with `ids`. `__cause__` is the failure.

    Mend: publish those again that are not among `ids`.
    """

    def __init__(self, where: str, problem: str, ids: tuple[str, ...]) -> None:
        Exception.__init__(self, where, problem, ids)
        self.where = where
        self.problem = problem
        self.ids = ids

    def __str__(self) -> str:
        return f"{self.where}: only {len(self.ids)} events were appended: {self.problem}"


class SpoolFull(BrokerError):
    """Redis does not answer and the spool is full. The event is not in the spool.

    Mend: give it more room (`size_bytes_max`).
    """


class SpoolUnusable(BrokerError):
    """The spool file cannot be used: another process has it, it is damaged, or the disk refuses.

    Mend: give each process a path of its own, on a disk with room.
    """


class NoServer(BrokerError):
    """No Redis server was found to start.

    Mend: install `event-workbench[server]`, or a redis-server, or set REDIS_URL.
    """


class ScheduleExists(UsageError):
    """A schedule of this name exists. The App `declared_by` declares it; '' if it was added while a program ran.

    Mend: remove it, or take another name.
    """

    def __init__(self, name: str, declared_by: str) -> None:
        super().__init__(name, declared_by)
        self.name = name
        self.declared_by = declared_by

    def __str__(self) -> str:
        how = f"is declared by App {self.declared_by!r}" if self.declared_by else "was added while a program ran"
        return f"a schedule {self.name!r} exists: it {how}; remove it, or take another name"


def shown(value: object) -> str:
    """The repr of a wrong value, for an error's text. Python makes no repr of an integer with thousands of digits."""
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
