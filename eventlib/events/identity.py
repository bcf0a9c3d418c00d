"""The identity of code that decides what an event class reads: a name for people, and a digest of what the code does.

The digest covers the code and what it refers to: values in its closure, constants, other functions of the program. It
is the same in every process, and for source code in every Python version. Code of other libraries counts by its name.
"""

import ast
import hashlib
import json
import linecache
import re
import sys
from collections.abc import Iterator, Mapping, Set
from enum import Enum
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_DEPTH_MAX = 12  # of references from code to code; what lies deeper counts by its name
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_LIBRARIES = {*sys.stdlib_module_names, "annotated_types", "eventlib", "pydantic", "pydantic_core", "typing_extensions"}
_CONSTANTS = (bool, int, float, complex, str, bytes, type(None), type(...))
_METHODS = (FunctionType, MethodType, classmethod, staticmethod, property, cached_property)


def identity(code: object, owner: type | None = None) -> dict[str, str]:
    """A function, or another object that can be called, as `{"name": ..., "digest": ...}`.

    `owner` is the class that a plain function is a method of.
    """
    return {"name": _name_of(code), "digest": digest_of(code, owner)}


def digest_of(value: object, owner: type | None = None) -> str:
    """The digest of a value or of code: 16 hexadecimal digits."""
    described = json.dumps(_Description(owner).of(value, 0), sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def _name_of(code: object) -> str:
    code = getattr(code, "func", code) if isinstance(code, partial) else code
    named = code if hasattr(code, "__qualname__") else type(code)
    return f"{getattr(named, '__module__', None) or 'builtins'}.{named.__qualname__}"


def _root_of(thing: object) -> str:
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None) or "builtins"
    return "eventlib.catalog" if str(name).startswith("eventlib.catalog") else str(name).partition(".")[0]


@lru_cache(maxsize=1024)
def _is_of_a_library(root: str) -> bool:
    """Whether a package was installed beside the program, or came with Python."""
    if root in _LIBRARIES:
        return True
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


class _Description:
    """Values as JSON. What is met again, such as a function that calls itself, is described once."""

    def __init__(self, owner: type | None) -> None:
        self._owner = owner
        self._own: str | None = None  # the package of the code that is described
        self._seen: dict[int, tuple[int, object]] = {}  # by identity; the object is kept, so that its id stays its own

    def of(self, value: object, depth: int) -> Any:
        if isinstance(value, Enum):
            return [type(value).__qualname__, value.name, self.of(value.value, depth)]
        if isinstance(value, _CONSTANTS):
            return [type(value).__name__, repr(value)]
        if id(value) in self._seen:
            return ["seen", self._seen[id(value)][0]]
        if depth > _DEPTH_MAX:
            return ["deep", _name_of(value)]
        self._seen[id(value)] = (len(self._seen), value)
        return self._of_one(value, depth + 1)

    def _of_one(self, value: object, depth: int) -> Any:
        match value:
            case list() | tuple():
                return ["list", [self.of(item, depth) for item in value]]
            case Mapping():
                return ["mapping", self._sorted([self.of(k, depth), self.of(v, depth)] for k, v in value.items())]
            case Set():
                return ["set", self._sorted(self.of(item, depth) for item in value)]
            case re.Pattern():
                return ["pattern", repr(value.pattern), value.flags]
            case partial():
                return ["partial", *(self.of(part, depth) for part in (value.func, value.args, value.keywords))]
            case classmethod() | staticmethod():
                return self.of(value.__func__, depth)
            case property():
                return ["property", self.of(value.fget, depth)]
            case cached_property():
                return ["property", self.of(value.func, depth)]
            case MethodType():
                return self._of_method(value, depth)
            case FunctionType():
                return self._of_function(value, self._owner if depth == 1 else None, depth)
            case type():
                return self._of_class(value, depth)
            case ModuleType() | BuiltinFunctionType():
                return ["name", getattr(value, "__qualname__", value.__name__)]
        return self._of_object(value, depth)

    @staticmethod
    def _sorted(parts: Iterator[Any]) -> list[Any]:
        return sorted(parts, key=json.dumps)

    def _of_method(self, method: MethodType, depth: int) -> Any:
        owner, function = method.__self__, method.__func__
        if not isinstance(function, FunctionType):
            return ["method", self.of(function, depth), self.of(owner, depth)]
        if isinstance(owner, type):  # what the method takes from its class counts, not the rest of the class
            return self._of_function(function, owner, depth)
        return ["method", self._of_function(function, type(owner), depth), self.of(owner, depth)]

    def _of_function(self, function: FunctionType, owner: type | None, depth: int) -> Any:
        closure = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        cells = [_content(cell) for name, cell in closure if name != "__class__"]  # of super(): its own class
        around = [self.of(part, depth) for part in (cells, function.__defaults__, function.__kwdefaults__)]
        if self._is_foreign(function):
            return ["function", _name_of(function), around]
        used = {name: self.of(value, depth) for name, value in sorted(self._used(function, owner).items())}
        return ["function", source_of(function.__code__), around, used]

    def _used(self, function: FunctionType, owner: type | None) -> dict[str, object]:
        """What a function refers to outside of itself: globals, members of such modules, attributes of its class."""
        names = set(_names(function.__code__))
        found = {name: function.__globals__[name] for name in names if name in function.__globals__}
        for name, value in list(found.items()):
            if isinstance(value, ModuleType) and not self._is_foreign(value):
                found |= {f"{name}.{each}": getattr(value, each) for each in names if hasattr(value, each)}
        for class_ in owner.__mro__ if owner else ():
            if not self._is_foreign(class_):
                found |= {f"cls.{name}": vars(class_)[name] for name in names if name in vars(class_)}
        return found

    def _is_foreign(self, thing: object) -> bool:
        """Whether this is code of a library that the described code does not belong to."""
        if self._own is None:
            self._own = _root_of(thing)
        return _root_of(thing) in _LIBRARIES or (_root_of(thing) != self._own and _is_of_a_library(_root_of(thing)))

    def _of_class(self, class_: type, depth: int) -> Any:
        if self._is_foreign(class_):
            return ["class", _name_of(class_)]
        members = {
            name: self.of(value, depth)
            for name, value in sorted(vars(class_).items())
            if isinstance(value, (*_METHODS, *_CONSTANTS, Enum)) and not _is_of_every_class(name)
        }
        return ["class", class_.__qualname__, members, [self.of(base, depth) for base in class_.__bases__]]

    def _of_object(self, value: object, depth: int) -> Any:
        if self._is_foreign(type(value)):
            return ["object", _name_of(value), _ADDRESS.sub("", repr(value))]
        slots = [name for class_ in type(value).__mro__ for name in getattr(class_, "__slots__", ())]
        state = {**{name: getattr(value, name, None) for name in slots}, **getattr(value, "__dict__", {})}
        return ["object", self.of(type(value), depth), self.of(state, depth)]


def _is_of_every_class(name: str) -> bool:
    return name.startswith(("__pydantic_", "__annot", "model_", "_abc_")) or name in (
        "__doc__",
        "__firstlineno__",
        "__module__",
        "__qualname__",
    )


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet: a function that is defined later
        return None


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


# Source


def source_of(code: CodeType) -> str:
    """What the code does, as text: its source without comments, docstring and annotations, or else its bytecode."""
    nodes = [node for node in _functions(code.co_filename) if _first_line(node) == code.co_firstlineno]
    nodes = [node for node in nodes if getattr(node, "name", "<lambda>") == code.co_name]
    if len(nodes) > 1:  # lambdas on one line
        nodes = [node for node in nodes if _covers(node, code)]
    if len(nodes) == 1:
        return ast.unparse(_Plain().visit(ast.parse(ast.unparse(nodes[0]))))
    constants = [source_of(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return repr((code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars))


_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@lru_cache(maxsize=256)
def _functions(file: str) -> tuple[_Function, ...]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ()
    return tuple(node for node in ast.walk(tree) if isinstance(node, _Function))


def _first_line(node: _Function) -> int:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min(node.lineno, *(decorator.lineno for decorator in decorators)) if decorators else node.lineno


def _covers(node: _Function, code: CodeType) -> bool:
    """Whether the code's instructions are those of this lambda and of no lambda around or inside it."""
    places = [(line, column) for line, _, column, _ in code.co_positions() if line and column]
    body = node.body if isinstance(node, ast.Lambda) else node
    return bool(places) and isinstance(body, ast.expr) and min(places) == (body.lineno, body.col_offset)


class _Plain(ast.NodeTransformer):
    """Takes out what changes nothing in what a function does to a value."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.decorator_list, node.returns = [], None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node
