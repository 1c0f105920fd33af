"""
The settings of a configuration, read from the source of its dataclass: `--help` names them without importing what the
dataclass needs. TRL's alone take many seconds.
"""

import ast
import functools
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Option:
    """
    One setting. `kind` is its annotation, `default` a value, or the text of an expression that only the import would
    tell; `owner` is the dataclass that has it, in `module`, and `title` the first words of that one's documentation.
    """

    name: str
    kind: str
    default: Any
    help: str
    choices: tuple[Any, ...]
    required: bool
    positional: bool
    owner: str
    module: str
    title: str


def read_options(module: str, name: str) -> list[Option]:
    """The settings of a dataclass and its bases, the dataclass's own first. One that a base has too stands once."""
    options: dict[str, Option] = {}
    for source, node in _lineage(module, name):
        title = " ".join((ast.get_docstring(node) or "").split()).split(":")[0].split(". ")[0].strip(".")
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                if "ClassVar" not in ast.unparse(statement.annotation):
                    option = _option(source, statement, node.name, title.translate({91: None, 93: None, 96: None}))
                    options.setdefault(option.name, option)
    return list(options.values())


def _option(module: str, statement: ast.AnnAssign, owner: str, title: str) -> Option:
    assert isinstance(statement.target, ast.Name)
    call, words = statement.value, {}
    if isinstance(call, ast.Call):
        words = {word.arg: _value(module, word.value) for word in call.keywords if word.arg}
        # Of `setting` the first two arguments are default and help, `field` has all by name
        words |= dict(zip(("default", "help"), (_value(module, item) for item in call.args), strict=False))
    elif call is not None:
        words = {"default": _value(module, call)}
    words |= words.pop("metadata", None) or {}
    if "default_factory" in words:
        words["default"] = {"list": [], "dict": {}}.get(str(words["default_factory"]), words["default_factory"])
    if isinstance(statement.annotation, ast.Subscript) and ast.unparse(statement.annotation.value) == "Literal":
        words.setdefault("choices", ast.literal_eval(ast.Tuple([statement.annotation.slice], ast.Load())))
        words["choices"] = words["choices"][0] if isinstance(words["choices"][0], tuple) else words["choices"]
    return Option(
        statement.target.id,
        ast.unparse(statement.annotation).strip("'\""),
        words.get("default"),
        str(words.get("help", "")),
        # An expression that only the import would tell names none
        () if isinstance(words.get("choices"), str) else tuple(words.get("choices") or ()),
        bool(words.get("required")),
        bool(words.get("positional")),
        owner,
        module,
        title,
    )


def _lineage(module: str, name: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """A class and its bases, each with its module, as far as they are written down in modules that are installed."""
    found = _find(module, name)
    if found is None or not isinstance(found[1], ast.ClassDef):
        return
    yield found[0], found[1]
    for base in found[1].bases:
        if isinstance(base, ast.Name):
            yield from _lineage(found[0], base.id)


def _value(module: str, node: ast.expr) -> Any:
    """The value of an expression of constants, also of other modules and classes; else its text."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        pass
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_value(module, key): _value(module, item) for key, item in pairs if key is not None}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(module, item) for item in node.elts]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _value(module, node.left) + _value(module, node.right)
    if isinstance(node, ast.Name) and (found := _find(module, node.id)) and isinstance(found[1], ast.expr):
        return _value(found[0], found[1])
    if isinstance(node, ast.Subscript) and isinstance(mapping := _value(module, node.value), dict):
        return mapping.get(_value(module, node.slice))
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        for source, base in _lineage(module, node.value.id):
            for statement in base.body:
                if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == node.attr:
                    return _value(source, statement.value) if statement.value is not None else None
    return ast.unparse(node)


def _find(module: str, name: str) -> tuple[str, ast.ClassDef | ast.expr] | None:
    """The class or the constant that a name stands for in a module, and the module that has it."""
    for node in ast.walk(_parse(module)):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets):
            return module, node.value
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value is not None:
            return module, node.value
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    parts = module.split(".") if _path(module).name == "__init__.py" else module.split(".")[:-1]
                    parents = parts[: len(parts) - node.level + 1] if node.level else []
                    return _find(".".join([*parents, *filter(None, [node.module])]), alias.name)
    return None


@functools.cache
def _parse(module: str) -> ast.Module:
    path = _path(module)
    return ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")


def _path(module: str) -> Path:
    """The file of a module. Only the package at the top is looked for by the import system, which imports parents."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    folder = Path(next(iter((spec and spec.submodule_search_locations) or []), ""), *rest)
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
