"""The line that a notebook shows while a live cell runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from eventlib.interactive import in_ipython
from sim.declare.scenario import Progress


@contextmanager
def shown(progress: Progress | None, step: str) -> Iterator[Progress]:
    """Yield the progress that was asked for. Without one, a notebook shows a bar; anything else shows nothing."""
    if progress is not None:
        yield progress
    elif in_ipython():
        bar = _Bar(step)
        try:
            yield bar.advance
        finally:
            bar.end()
    else:
        yield lambda share: None


class _Bar:
    """An output of the running cell that is updated in place."""

    def __init__(self, step: str) -> None:
        from IPython import display

        show: Any = display.display  # it has no type hints
        self._step, self._percent, self._begun_at = step, 0, time.monotonic()
        self._output = show(self, display_id=True)

    def advance(self, share: float) -> None:
        percent = round(100 * min(1.0, max(0.0, share)))
        if percent > self._percent:  # it is called many times a second
            self._percent = percent
            self._output.update(self)

    def end(self) -> None:
        self._step, self._percent = f"{self._step}: took {time.monotonic() - self._begun_at:.0f} s", -1
        self._output.update(self)

    def __repr__(self) -> str:
        return self._step if self._percent < 0 else f"{self._step}: {self._percent} %"

    def _repr_html_(self) -> str:
        if self._percent < 0:
            return escape(self._step)
        return f'<progress max="100" value="{self._percent}"></progress> {escape(repr(self))}'
