"""Classes and functions as their source describes them: nothing of their module is imported."""

import ast
import builtins
import importlib
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

Defined = ast.ClassDef | ast.FunctionDef
Assigned = ast.Assign | ast.AnnAssign | ast.AugAssign


@dataclass(frozen=True)
class Definition:
    """What can be said of a class or a function.

    Attributes:
        doc: Its docstring.
        init_doc: The docstring of `__init__`, empty for a function.
        arguments: What a caller may give, as `name: type = default`.
        card: Its card; None where it has none.
    """

    doc: str
    init_doc: str
    arguments: tuple[str, ...]
    card: Any


def read_definition(target: str) -> Definition | None:
    """Describe `module:name` by its source.

    Returns:
        None where the source does not tell: it is not Python, or the name is made by a call.
    """
    module, _, name = target.partition(":")
    try:
        definition = _find(module, name)
        if definition is None:
            return None
        source, node = definition
        init = _init(source, node)
        first = 1 if isinstance(node, ast.ClassDef) else 0
        return Definition(
            doc=ast.get_docstring(node) or "",
            init_doc=(ast.get_docstring(init) or "") if init is not None and init is not node else "",
            arguments=() if init is None else _arguments(init.args)[first:],
            card=_card(source, node),
        )
    except Exception:  # whatever stands in a source: who asks can still import it
        return None


class Source(dict[str, Any]):
    """The names of a module; each is evaluated from the source when it is asked for, and so is what it needs."""

    def __init__(self, module: str) -> None:
        super().__init__()
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"No module named {module!r}")
        self.module = module
        self.statements: dict[str, list[ast.stmt]] = defaultdict(list)
        for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
            for name in _names(node):
                self.statements[name].append(node)

    def __missing__(self, name: str) -> Any:
        if name not in self.statements:
            return getattr(builtins, name)
        for node in self.statements[name]:
            if isinstance(node, ast.ImportFrom):
                self[name] = _imported(str(node.module), _original(node, name))
            elif isinstance(node, Assigned):
                exec(compile(ast.Module([node], []), self.module, "exec"), {}, self)
            else:
                self[name] = getattr(importlib.import_module(self.module), name)
        return self[name]


def find_spec(module: str) -> ModuleSpec | None:
    """Find where a module lies; `importlib.util.find_spec` would import the packages that it is in."""
    top, *below = module.split(".")
    spec, path = importlib.util.find_spec(top), top
    for part in below:
        if spec is None:
            return None
        path = f"{path}.{part}"
        spec = PathFinder.find_spec(path, spec.submodule_search_locations)
    return spec


_source = cache(Source)


def _names(node: ast.stmt) -> list[str]:
    """The names that a statement binds."""
    if isinstance(node, ast.ImportFrom | ast.Import):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if not isinstance(node, Assigned):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def _original(node: ast.ImportFrom, name: str) -> str:
    return next(alias.name for alias in node.names if name == (alias.asname or alias.name))


def _imported(module: str, name: str) -> Any:
    if module.partition(".")[0] in sys.stdlib_module_names:
        return getattr(importlib.import_module(module), name)
    return _source(module)[name]


def _find(module: str, name: str) -> tuple[Source, Defined] | None:
    """A class or a function, through modules that only pass it on; None of the standard library."""
    if module.partition(".")[0] in sys.stdlib_module_names:
        return None
    source = _source(module)
    node = source.statements[name][-1] if name in source.statements else None
    if isinstance(node, ast.ImportFrom):
        return _find(str(node.module), _original(node, name))
    return (source, node) if isinstance(node, ast.ClassDef | ast.FunctionDef) else None


def _init(source: Source, node: Defined) -> ast.FunctionDef | None:
    """The function that takes the arguments: itself, or the `__init__` of a class or of its first base that has one."""
    if isinstance(node, ast.FunctionDef):
        return node
    own = (part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__")
    inherited = (_init(*base) for base in _bases(source, node))
    return next(own, None) or next((init for init in inherited if init is not None), None)


def _card(source: Source, node: Defined) -> Any:
    """The value of `card = ...` in a class or its bases, or of `@card(...)` on a function."""
    if isinstance(node, ast.FunctionDef):
        calls = (part for part in node.decorator_list if isinstance(part, ast.Call))
        given = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "card"]
    else:
        set_here = (part for part in node.body if isinstance(part, ast.Assign | ast.AnnAssign))
        given = [part.value for part in set_here if "card" in _names(part) and part.value is not None]
    if given:
        return eval(compile(ast.Expression(given[0]), source.module, "eval"), {}, source)
    inherited = (_card(*base) for base in _bases(source, node))
    return next((card for card in inherited if card is not None), None)


def _bases(source: Source, node: Defined) -> Iterator[tuple[Source, Defined]]:
    for base in node.bases if isinstance(node, ast.ClassDef) else ():
        definition = (
            _find(source.module, base.id) if isinstance(base, ast.Name) and base.id in source.statements else None
        )
        if definition is not None:
            yield definition


def _arguments(given: ast.arguments) -> tuple[str, ...]:
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    pairs = [*zip(plain, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    shown = [ast.unparse(arg) + ("" if value is None else f" = {ast.unparse(value)}") for arg, value in pairs]
    if given.vararg is not None:
        shown.insert(len(plain), f"*{ast.unparse(given.vararg)}")
    return (*shown, f"**{ast.unparse(given.kwarg)}") if given.kwarg is not None else tuple(shown)
