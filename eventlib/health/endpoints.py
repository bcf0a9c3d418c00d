"""What each path answers, for a server in a thread and for an ASGI app alike."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from eventlib.extras import MissingExtra
from eventlib.health.verdicts import Limits, Verdict, alive, ready
from eventlib.health.watch import Look, Watch
from eventlib.operate.serving import Answer, not_found

PATHS = ("/livez", "/readyz", "/healthz", "/metrics")
_LOOKING = ("/healthz", "/metrics")  # they also tell how all stands on the server


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints of one bus."""

    watch: Watch
    limits: Limits

    def from_thread(self, path: str, accept: str) -> Answer:
        """The answer, in a thread that is not the event loop's."""
        return self._answer(path, accept, self.watch.look_from_thread)

    async def in_loop(self, path: str, accept: str) -> Answer:
        """The answer, in the event loop."""
        look = await self.watch.fresh_look() if path in _LOOKING else Look()
        return self._answer(path, accept, lambda: look)

    def _answer(self, path: str, accept: str, look: Callable[[], Look]) -> Answer:
        loop_silent_s = self.watch.loop_silent_s()
        match path:
            case "/livez":
                return _plain(alive(loop_silent_s, self.limits), "alive")
            case "/readyz":
                return _plain(self._ready(loop_silent_s), "ready")
            case "/healthz":
                return self._healthz(loop_silent_s, look())
            case "/metrics":
                try:
                    from eventlib.health.metrics import exposition
                except MissingExtra as missing:
                    return Answer(404, "text/plain; charset=utf-8", f"{missing}\n".encode())
                return exposition(self.watch, look(), self._ready(loop_silent_s), accept)
            case _:
                return not_found(PATHS)

    def _ready(self, loop_silent_s: float) -> Verdict:
        return ready(self.watch.snapshot, loop_silent_s, self.limits)

    def _healthz(self, loop_silent_s: float, look: Look) -> Answer:
        live, verdict = alive(loop_silent_s, self.limits), self._ready(loop_silent_s)
        document = {
            "alive": live.good,
            "ready": verdict.good,
            "problems": verdict.problems,
            "loop_silent_s": loop_silent_s,
            **_of_program(self.watch),
            **_of_server(look),
        }
        text = json.dumps(_as_json(document), indent=2, allow_nan=False) + "\n"
        return Answer(200 if verdict.good else 503, "application/json", text.encode())


def _of_program(watch: Watch) -> dict[str, Any]:
    """What the program itself knows."""
    seen, parts = watch.snapshot, watch.parts
    return {
        "app": parts.app.name,
        "server": {
            "product": str(parts.server),
            "where": parts.broker.where,
            "silent_s": seen.silent_s,
            "problem": seen.problem,
            "reconnects": parts.broker.reconnects,
        },
        "publishing": asdict(seen.load),
        "waits": seen.outstanding,
        "consumers": [asdict(consumer) for consumer in seen.consumers],
        "schedulers": seen.scheduling,
    }


def _of_server(look: Look) -> dict[str, Any]:
    """How all stands on the server, as it was last seen."""
    backlogs = [
        {"stream": stream, "group": group, **asdict(backlog), "total": backlog.total}
        for (stream, group), backlog in look.backlogs.items()
    ]
    return {
        "look": {"age_s": look.age_s, "problem": look.problem},
        "streams": [asdict(stream) for stream in look.streams],
        "groups": backlogs,
        "queues": [{"queue": name, **asdict(queue)} for name, queue in look.queues.items()],
    }


def _plain(verdict: Verdict, good: str) -> Answer:
    text = good if verdict.good else "\n".join(verdict.problems)
    return Answer(200 if verdict.good else 503, "text/plain; charset=utf-8", f"{text}\n".encode())


def _as_json(value: Any) -> Any:
    """JSON has no number for infinity: it becomes null, as what has no limit."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
