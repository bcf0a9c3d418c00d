"""The Lua scripts. Each file begins with what it does, its KEYS and ARGV, and what it returns."""

import hashlib
from functools import cached_property
from importlib import resources


class Script:
    """A Lua script. Its text stands after those of the files `after`, because a script cannot call another one.

    It is read when it is first used, so that an import does not wait for all of them.
    """

    def __init__(self, name: str, *, after: tuple[str, ...] = ()) -> None:
        self.name = name
        self.after = after

    def __repr__(self) -> str:
        return f"Script({self.name!r})"

    @cached_property
    def text(self) -> str:
        """What the server is sent."""
        files = resources.files(__name__)
        return "".join(files.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in (*self.after, self.name))

    @cached_property
    def sha(self) -> str:
        """The SHA-1 of the text, by which the server knows it."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


PUBLISH = Script("publish")
_MOVES = ("fields", "key_queues")  # a script that moves or settles entries begins with these
_TIME = ("group_time",)  # and one that keeps or compares times of a group with this
ACK = Script("ack", after=_MOVES)
RETRY = Script("retry", after=(*_MOVES, *_TIME))
TO_DEAD_LETTERS = Script("to_dead_letters", after=(*_MOVES, "dead_letter"))
PROMOTE = Script("promote", after=(*_MOVES, *_TIME))
RENEW = Script("renew")
SWEEP = Script("sweep", after=("fields", *_TIME, "takeover"))
PUT_CLOCK_RIGHT = Script("put_clock_right", after=_TIME)
LEAVE = Script("leave", after=_MOVES)
BACKLOG = Script("backlog")
READ = Script("read")
READ_ORDERED = Script("read_ordered", after=_MOVES)
FREE_KEY_QUEUES = Script("free_key_queues", after=_MOVES)
DEAD_LETTER_QUEUE = Script("dead_letter_queue")
DEAD_LETTERS = Script("dead_letters")
EDIT = Script("edit")
REPLAY = Script("replay", after=("fields",))
PURGE = Script("purge")
JOIN = Script("join")
PAUSE = Script("pause")
COUNT = Script("count")
PROBE = Script("probe")
TRIM = Script("trim")
LAST_ID = Script("last_id")
READ_BACK = Script("read_back")
TASK_QUEUE = ("fields", *_TIME, "task_queue")  # all scripts of tasks begin with these
TASK_ENQUEUE = Script("task_enqueue", after=(*TASK_QUEUE, "task_enqueue_one"))
TASK_DISPATCH = Script("task_dispatch", after=(*TASK_QUEUE, "task_limits", "task_due"))
TASK_PROMOTE = Script("task_promote", after=(*TASK_QUEUE, "task_limits", "task_due"))
TASK_ACK = Script("task_ack", after=(*TASK_QUEUE, "task_settle"))
TASK_RETRY = Script("task_retry", after=(*TASK_QUEUE, "task_settle"))
TASK_DEAD = Script("task_dead", after=(*TASK_QUEUE, "dead_letter", "task_settle"))
TASK_SWEEP = Script("task_sweep", after=(*TASK_QUEUE, "task_limits", "task_settle", "takeover"))
TASK_LEAVE = Script("task_leave", after=(*TASK_QUEUE, "task_settle"))
TASK_CANCEL = Script("task_cancel", after=TASK_QUEUE)
TASK_RUN_NOW = Script("task_run_now", after=TASK_QUEUE)
TASK_PROGRESS = Script("task_progress", after=TASK_QUEUE)
TASK_LOOK = Script("task_look", after=TASK_QUEUE)
TASK_REPAIR = Script("task_repair", after=(*TASK_QUEUE, "task_limits"))
TASK_HEALTH = Script("task_health", after=(*TASK_QUEUE, "task_limits"))
SAGA_BEGIN = Script("saga_begin")
SAGA_APPLY = Script("saga_apply", after=_TIME)
_SCHEDULES = (*TASK_QUEUE, "schedule_slots")  # scripts on one schedule begin with these
SCHEDULE_LOOK = Script("schedule_look", after=TASK_QUEUE)
SCHEDULE_FIRE = Script("schedule_fire", after=(*TASK_QUEUE, "task_enqueue_one", "schedule_slots"))
SCHEDULE_PUT = Script("schedule_put", after=_SCHEDULES)
SCHEDULE_READ = Script("schedule_read", after=_SCHEDULES)
SCHEDULE_HALT = Script("schedule_halt", after=_SCHEDULES)
SCHEDULE_REMOVE = Script("schedule_remove", after=_SCHEDULES)
