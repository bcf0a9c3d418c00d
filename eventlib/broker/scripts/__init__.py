"""The Lua scripts. Each file begins with what it does, its KEYS and ARGV, and what it returns."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the SHA-1 that Redis knows it by. It stands after the texts of the files `after`."""

    name: str
    after: tuple[str, ...]
    text: str
    sha: str


def _load(name: str, *, after: Sequence[str] = ()) -> Script:
    """The script, preceded by the functions that it shares with others. A Redis script cannot call another script."""
    files = resources.files(__name__)
    text = "".join(files.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in (*after, name))
    return Script(name, tuple(after), text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


PUBLISH = _load("publish")
_MOVES = ("fields", "key_queues")  # a script that moves or settles entries begins with these
_TIME = ("group_time",)  # and one that keeps or compares times of a group with this
ACK = _load("ack", after=_MOVES)
RETRY = _load("retry", after=(*_MOVES, *_TIME))
TO_DEAD_LETTERS = _load("to_dead_letters", after=(*_MOVES, "dead_letter"))
PROMOTE = _load("promote", after=(*_MOVES, *_TIME))
RENEW = _load("renew")
SWEEP = _load("sweep", after=("fields", *_TIME))
PUT_CLOCK_RIGHT = _load("put_clock_right", after=_TIME)
LEAVE = _load("leave", after=_MOVES)
BACKLOG = _load("backlog")
READ = _load("read")
READ_ORDERED = _load("read_ordered", after=_MOVES)
FREE_KEY_QUEUES = _load("free_key_queues", after=_MOVES)
DEAD_LETTER_QUEUE = _load("dead_letter_queue")
DEAD_LETTERS = _load("dead_letters")
EDIT = _load("edit")
REPLAY = _load("replay", after=["fields"])
PURGE = _load("purge")
JOIN = _load("join")
COUNT = _load("count")
PROBE = _load("probe")
TRIM = _load("trim")
LAST_ID = _load("last_id")
READ_BACK = _load("read_back")
TASK_QUEUE = ("fields", *_TIME, "task_queue")  # all scripts of tasks begin with these
TASK_ENQUEUE = _load("task_enqueue", after=(*TASK_QUEUE, "task_enqueue_one"))
TASK_DISPATCH = _load("task_dispatch", after=(*TASK_QUEUE, "task_limits", "task_due"))
TASK_PROMOTE = _load("task_promote", after=(*TASK_QUEUE, "task_limits", "task_due"))
TASK_ACK = _load("task_ack", after=(*TASK_QUEUE, "task_settle"))
TASK_RETRY = _load("task_retry", after=(*TASK_QUEUE, "task_settle"))
TASK_DEAD = _load("task_dead", after=(*TASK_QUEUE, "dead_letter", "task_settle"))
TASK_LEAVE = _load("task_leave", after=(*TASK_QUEUE, "task_settle"))
TASK_CANCEL = _load("task_cancel", after=TASK_QUEUE)
TASK_RUN_NOW = _load("task_run_now", after=TASK_QUEUE)
TASK_PROGRESS = _load("task_progress", after=TASK_QUEUE)
TASK_LOOK = _load("task_look", after=TASK_QUEUE)
TASK_REPAIR = _load("task_repair", after=(*TASK_QUEUE, "task_limits"))
TASK_HEALTH = _load("task_health", after=(*TASK_QUEUE, "task_limits"))
SAGA_BEGIN = _load("saga_begin")
SAGA_APPLY = _load("saga_apply", after=_TIME)
_SCHEDULES = (*TASK_QUEUE, "schedule_slots")  # scripts on one schedule begin with these
SCHEDULE_LOOK = _load("schedule_look", after=TASK_QUEUE)
SCHEDULE_FIRE = _load("schedule_fire", after=(*TASK_QUEUE, "task_enqueue_one", "schedule_slots"))
SCHEDULE_PUT = _load("schedule_put", after=_SCHEDULES)
SCHEDULE_READ = _load("schedule_read", after=_SCHEDULES)
SCHEDULE_HALT = _load("schedule_halt", after=_SCHEDULES)
SCHEDULE_REMOVE = _load("schedule_remove", after=_SCHEDULES)
