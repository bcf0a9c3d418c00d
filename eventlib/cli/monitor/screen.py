"""How the monitor looks: one screen of text, made from what was seen. It draws; it asks nothing."""

from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from eventlib.cli.moments import age, clock
from eventlib.cli.terminal import AtLeast, one_line
from eventlib.dead_letter import DeadLetter
from eventlib.operate.judging import Finding
from eventlib.operate.trends import Row, View

_BARS, _PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-~=*#@"
_STYLES = {"critical": "bold red", "warning": "yellow", "info": ""}
_ALERTS_MAX = 6
_WIDE, _LEFT_OUT = 76, ("", "in/s", "out/s", "pend")  # a narrower screen leaves these columns out
_KEYS = {
    "groups": "up/down select   enter consumers   d dead letters   p pause   q quit",
    "group": "d dead letters   p pause   esc back   q quit",
    "letters": "up/down select   enter look into it   r replay   esc back   q quit",
    "letter": "r replay   esc back   q quit",
}


@dataclass(slots=True)
class State:
    """What the screen shows: the last look, which row is chosen, and how the server answers.

    `page` is groups, group, letters or letter. `silent_s` is since the last look, `problem` why there is no newer one.
    """

    where: str
    view: View | None = None
    page: str = "groups"
    chosen: int = 0
    letter: int = 0
    letters: tuple[DeadLetter, ...] = ()
    problem: str | None = None
    silent_s: float = 0.0
    note: str = ""

    @property
    def row(self) -> Row | None:
        """The chosen group."""
        rows = () if self.view is None else self.view.rows
        return rows[min(self.chosen, len(rows) - 1)] if rows else None

    @property
    def dead_letter(self) -> DeadLetter | None:
        """The chosen dead letter."""
        return self.letters[min(self.letter, len(self.letters) - 1)] if self.letters else None


def draw(state: State, width: int, height: int, unicode: bool = True) -> RenderableType:
    """The whole screen, of `width` columns and at most `height` lines."""
    head = [_title(state)]
    if state.problem is not None:
        head.append(_line(f"No answer for {age(state.silent_s)}: {state.problem}", "bold red"))
    alerts = _alerts(state.view, height) if state.page in ("groups", "group") else []
    foot = [*alerts, _line(state.note, "bold") if state.note else _line(_KEYS[state.page], "dim")]
    rest = height - len(head) - len(foot)
    match state.page:
        case "groups":
            body = _groups(state, rest, unicode, wide=width >= _WIDE)
        case "group":
            body = _consumers(state, rest)
        case "letters":
            body = _letters(state, rest)
        case _:
            body = _letter(state, rest)
    return _Page(head, body, foot, rest)


@dataclass(frozen=True, slots=True)
class _Page:
    """A body between a head and a foot, which stays at the bottom: the body has as many lines as are left."""

    head: list[Text]
    body: RenderableType
    foot: list[Text]
    lines: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        blank = [Segment(" " * options.max_width)]
        body = console.render_lines(self.body, options.update(height=None))[: max(0, self.lines)]
        rows = [*(self._line(console, options, line) for line in self.head), *body]
        rows += [blank] * max(0, self.lines - len(body))
        rows += [self._line(console, options, line) for line in self.foot]
        for number, row in enumerate(rows):
            yield from [Segment.line()] if number else []
            yield from row

    def _line(self, console: Console, options: ConsoleOptions, line: Text) -> list[Segment]:
        return console.render_lines(line, options.update(height=1))[0]


def plain(view: View, where: str, unicode: bool) -> RenderableType:
    """What `--once` prints before the alerts: all groups, however many there are, with all columns."""
    state = State(where, view)
    return AtLeast(Group(_title(state), _groups(state, len(view.rows) + 3, unicode, choice=False)), _WIDE)


def alert(finding: Finding) -> Text:
    """An alert as one line."""
    head = Text(f"{finding.severity:8} ", _STYLES[finding.severity])
    return head.append(f"{finding.name}: {one_line(finding.where)}: {one_line(finding.problem)}", "")


def sparkline(values: tuple[int, ...], width: int, unicode: bool) -> str:
    """The last values as bars, from zero to the largest of them."""
    bars, shown = _BARS if unicode else _PLAIN_BARS, values[-width:]
    top = max(shown, default=0)
    return "".join(bars[0 if top == 0 else round(value / top * (len(bars) - 1))] for value in shown)


def _line(text: str, style: str = "") -> Text:
    return _cut(Text(one_line(text), style))


def _cut(line: Text) -> Text:
    """A line that is cut where the screen ends."""
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _title(state: State) -> Text:
    about = ""
    if state.view is not None:
        seen = state.view.seen
        used, limit = seen.memory.get("used_bytes"), seen.memory.get("max_bytes", 0)
        about = f"  {len(seen.streams)} streams"
        if used is not None:
            about += f", {used / 2**20:,.0f} MiB" + (f" of {limit / 2**20:,.0f}" if limit else "")
        if seen.skipped or seen.missing or not seen.searched_all:
            about += f", {seen.skipped + len(seen.missing) or 'some'} not seen"
    return Text.assemble((one_line(state.where), "bold"), about, no_wrap=True, overflow="ellipsis")


def _groups(state: State, lines: int, unicode: bool, choice: bool = True, wide: bool = True) -> RenderableType:
    if state.view is None:
        return _line("Looking ...")
    if not state.view.rows:
        return _line("There are no streams.")
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=0, show_edge=False)
    table.add_column("stream", ratio=3, no_wrap=True, overflow="ellipsis", min_width=8)
    table.add_column("group", ratio=2, no_wrap=True, overflow="ellipsis", min_width=6)
    names = ["stream", "group", "waiting", "", "in/s", "out/s", "pend", "oldest", "cons", "dead"]
    shown_names = names if wide else [name for name in names if name not in _LEFT_OUT]
    for name in shown_names[2:]:
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    first, shown = _window(state.chosen, len(state.view.rows), lines - 2)
    for number, row in enumerate(state.view.rows[first : first + shown], first):
        chosen = choice and number == min(state.chosen, len(state.view.rows) - 1)
        cells = dict(zip(names, _cells(row, chosen, unicode), strict=False))  # a stream without groups has fewer
        table.add_row(*(cells.get(name, Text()) for name in shown_names), style="reverse" if chosen else "")
    return table


def _cells(row: Row, chosen: bool, unicode: bool) -> list[Text]:
    style = "bold red" if row.alerts else ""
    marked = f"{'>' if chosen else '!' if row.alerts else ' '}{one_line(row.name)}"
    if not row.group:
        return [Text(marked), Text("(none)", "dim"), Text(_short(row.entries)), Text(""), Text(_rate(row.added_per_s))]
    return [
        Text(marked, style),
        Text(one_line(row.group), style),
        Text("?" if row.waiting is None else _short(row.waiting)),
        Text(sparkline(row.lags, 8, unicode).ljust(8)),
        Text(_rate(row.added_per_s)),
        Text(_rate(row.handled_per_s)),
        Text(_short(row.pending)),
        Text("" if row.oldest_s is None else age(row.oldest_s).replace(" ", "")),
        Text("rest" if row.paused else f"{row.active}/{row.consumers}", "bold red" if row.silent else ""),
        Text(_short(row.dead_letters) if row.dead_letters else "", "yellow"),
    ]


def _window(chosen: int, count: int, lines: int) -> tuple[int, int]:
    """The first row that is shown, and how many are: so that the chosen one is among them."""
    shown = max(1, lines)
    return max(0, min(chosen - shown // 2, count - shown)), shown


def _short(number: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if number >= size:
            return f"{number / (size if unit != 'k' else 1000):.0f}{unit}"
    return str(number)


def _rate(per_s: float | None) -> str:
    if per_s is None:
        return ""
    return _short(round(per_s)) if per_s >= 10.0 or per_s == 0.0 else f"{per_s:.1f}"


def _alerts(view: View | None, height: int) -> list[Text]:
    if view is None:
        return []
    if not view.findings:
        return [_line("No alerts.", "green")]
    most = max(1, min(_ALERTS_MAX, height // 4))
    shown = [_cut(alert(finding)) for finding in view.findings[: most if len(view.findings) <= most else most - 1]]
    if (more := len(view.findings) - len(shown)) > 0:
        shown.append(_line(f"and {more} alerts more: workbench monitor --once"))
    return shown


def _consumers(state: State, lines: int) -> RenderableType:
    row = state.row
    if row is None:
        return _line("This group is gone.")
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=0, show_edge=False)
    table.add_column(f"consumers of {one_line(row.group)} on {one_line(row.name)}", no_wrap=True, overflow="ellipsis")
    table.add_column("in hand", justify="right", width=9)
    table.add_column("silent", justify="right", width=9)
    for each in row.members[: max(1, lines - 3)]:
        table.add_row(Text(one_line(each.name)), Text(_short(each.pending)), Text(age(each.idle_ms / 1e3)))
    more = row.consumers - min(len(row.members), max(1, lines - 3))
    return Group(table, _line(f"and {more} more" if more else "" if row.members else "It has no consumers."))


def _letters(state: State, lines: int) -> RenderableType:
    if not state.letters:
        return _line("There are no dead letters.")
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=0, show_edge=False)
    table.add_column("died", no_wrap=True, width=20)
    table.add_column("type", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("reason", no_wrap=True, width=10)
    table.add_column("error", no_wrap=True, overflow="ellipsis", ratio=2)
    first, shown = _window(state.letter, len(state.letters), lines - 2)
    for number, dead in enumerate(state.letters[first : first + shown], first):
        chosen = number == min(state.letter, len(state.letters) - 1)
        cells = (clock(dead.died_at_s)[:19], dead.event_type or "?", dead.reason, dead.error)
        marked = (f"{'>' if chosen else ' '}{cells[0]}", *cells[1:])
        table.add_row(*(Text(one_line(cell)) for cell in marked), style="reverse" if chosen else "")
    return table


def _letter(state: State, lines: int) -> RenderableType:
    dead = state.dead_letter
    if dead is None:
        return _line("This dead letter is gone.")
    facts = {
        "id": dead.id,
        "died": f"{clock(dead.died_at_s)}, after {dead.attempts} attempts",
        "reason": dead.reason,
        "error": dead.error,
        "handler": dead.handler,
        "event": f"{dead.event_type or '?'}, id {dead.event_id or '?'}",
        "replay": f"no: {dead.obstacle}" if dead.obstacle else "possible",
    }
    told = [_line(f"{name:9}{value}") for name, value in facts.items() if value]
    event = (dead.event or b"").decode(errors="backslashreplace")
    body = [*dead.traceback.splitlines()[-max(0, lines - len(told) - 4) :], event]
    return Group(*told, *(Text(one_line(line), overflow="fold") for line in body))
