"""YAML that means what a person reads in it. What may be read in two ways is refused with its place.

YAML 1.1, which PyYAML reads, takes `no` for false, `010` for eight and `12:30` for 750. Here a value is a decimal
number, nothing (`null`, `~`) or text, and the type of its field decides the rest. A key is the text that is written.
"""

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml
from yaml.events import AliasEvent, CollectionStartEvent, ScalarEvent

_STR, _INT, _FLOAT, _NULL = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "null"))
_MERGE = "tag:yaml.org,2002:merge"
# Control characters but tab and line feed, halves of characters, other ends of lines, and what turns text round.
_UNSEEN = "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]"
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+(\.[0-9_]*)?")


class Unreadable(Exception):
    """The text is no YAML, or may be read in two ways. The message names the line and the mend."""


def parse(text: str) -> Any:
    """What the text says: dictionaries, lists, text, numbers and None.

    Raises:
        Unreadable: see there.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
        raise Unreadable(f"{_place(mark)}: {problem}" if mark else str(problem)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(f"line {line}: the character {chr(error.character)!r} cannot be in YAML") from error
    except RecursionError as error:
        raise Unreadable("it is nested too deep") from error


class _Loader(yaml.SafeLoader):
    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            self._check(node, (), set())
        return node

    def compose_document(self) -> Any:
        node = super().compose_document()
        event = self._next()
        if isinstance(event, yaml.DocumentStartEvent):
            _refuse(event, "a second document begins; keep one in a file")
        return node

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self._next()
        if isinstance(event, AliasEvent) and event.anchor not in self.anchors:
            _refuse(event, f"there is no &{event.anchor} above this *{event.anchor}")
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag not in (None, _STR):
            _refuse(event, f"the tag {event.tag.replace('tag:yaml.org,2002:', '!!')} is not read; leave it out")
        is_key = parent is not None and index is None
        if isinstance(event, ScalarEvent):
            _check_characters(event, is_key)
            if not (is_key or event.tag or event.style):
                _check_zeros(event)
        return super().compose_node(parent, index)

    def _next(self) -> yaml.Event:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        return event

    def _check(self, node: yaml.Node, above: tuple[yaml.Node, ...], checked: set[int]) -> None:
        """Refuse what is ambiguous, here and below. `above` leads to the node; an alias may lead to a node twice."""
        if node in above:
            _refuse(node, "it contains itself, by an alias")
        if id(node) in checked:
            return
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        for child in _children(node):
            self._check(child, (*above, node), checked)
        checked.add(id(node))


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            _refuse(key, "a key must be text")
        if not key.value and not key.style:
            _refuse(key, "a key is missing before the colon")
        if key.value in seen:
            _refuse(key, f"{key.value!r} comes twice")
        seen.add(key.value)
        if key.tag == _MERGE and not all(isinstance(one, yaml.MappingNode) for one in _merged(value)):
            _refuse(value, "only mappings can be merged: <<: *name, or <<: [*name, *other]")


def _check_characters(event: ScalarEvent, is_key: bool) -> None:
    """What no reader sees may turn a text round, or steer the terminal that shows it."""
    if found := re.search(_UNSEEN if not is_key else f"{_UNSEEN}|[\n\t]", event.value):
        _refuse(event, f"the character {found[0]!a} cannot be seen; take it out")


def _check_zeros(event: ScalarEvent) -> None:
    if _LEADING_ZERO.fullmatch(event.value):
        _refuse(event, f"{event.value} may mean eights or tens; write no leading zero, or quotes if it is text")


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        yield from (value for _, value in node.value)  # keys are texts, and have been looked at
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _merged(value: yaml.Node) -> list[yaml.Node]:
    return value.value if isinstance(value, yaml.SequenceNode) else [value]


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    """The mapping. What is merged into it gives way to its own keys, and what is merged first comes first."""
    found: dict[str, Any] = {}
    for key, value in node.value:
        if key.tag == _MERGE:
            for one in _merged(value):
                found = loader.construct_object(one, deep=True) | found
    own = {key.value: loader.construct_object(value, deep=True) for key, value in node.value if key.tag != _MERGE}
    return found | own


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    try:
        return int(node.value) if node.tag == _INT else float(re.sub(r"\.(?=[infa])", "", node.value.lower()))
    except ValueError:  # Python's limit of digits
        _refuse(node, f"the number has {len(node.value)} digits")


def _refuse(at: Any, problem: str) -> NoReturn:
    raise Unreadable(f"{_place(at.start_mark)}: {problem}")


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


_Loader.yaml_implicit_resolvers = {}  # instead of YAML 1.1's
_Loader.add_implicit_resolver(_NULL, re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$"
        r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver(_MERGE, re.compile("<<$"), ["<"])
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor(_MERGE, lambda _, node: node.value)  # where it is no key, it is text
for _tag in (_INT, _FLOAT):
    _Loader.add_constructor(_tag, _number)
