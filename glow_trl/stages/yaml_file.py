"""YAML files, and what to say about names and errors in them."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from .files import read_text
from .secrets import remember


# A recipe has some hundred
_MOST_NODES = 100_000


class _Loader(yaml.SafeLoader):
    """
    Plain YAML, without what it would lose in silence, a key that stands twice in a mapping, and without aliases that
    multiply to more than a file of settings can mean.
    """

    def __init__(self, stream: str):
        super().__init__(stream)
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        is_alias = self.check_event(yaml.AliasEvent)
        node: Any = super().compose_node(parent, index)
        if is_alias and id(node) not in self._sizes:
            raise yaml.composer.ComposerError(None, None, "an alias within what it stands for", node.start_mark)
        if isinstance(node, yaml.CollectionNode) and id(node) not in self._sizes:
            children = [child for entry in node.value for child in (entry if isinstance(entry, tuple) else (entry,))]
            size = 1 + sum(self._sizes[id(child)] for child in children)
            if size > _MOST_NODES:
                problem = f"aliases make it more than {_MOST_NODES:,} values"
                raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
            self._sizes[id(node)] = size
        self._sizes.setdefault(id(node), 1)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                if (first := lines.get((key.tag, key.value))) is not None:
                    problem = f"the key {key.value!r} is there twice, first in line {first}"
                    raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
                lines[key.tag, key.value] = line
        return node


def parse_yaml(text: str, where: str | Path) -> Any:
    """
    What a text in YAML says; `where` begins the messages, which name the line where that is a file.

    Raises:
        UserError: it is not YAML, has a key twice in a mapping, or aliases that multiply.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        # What is wrong is said in its words
        for line in text.splitlines():
            remember("{" + line)
        mark = getattr(error, "problem_mark", None) if isinstance(where, Path) else None
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}: not valid YAML ({yaml_problem(error)})") from error
    except RecursionError as error:
        raise UserError(f"{where}: not valid YAML (nested too deeply)") from error
    except ValueError as error:  # a date that is none
        raise UserError(f"{where}: not valid YAML ({one_line(error)})") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; `{}` for an empty one. Raises `UserError` where there is no such file or mapping."""
    content = parse_yaml(read_text(path), path)
    remember(content)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, found {type(content).__name__}")
    for key in content:
        if not isinstance(key, str):
            raise UserError(f"{path}: expected names as keys, found {key!r}")
    return content


def yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong with a text that is not YAML, in one line."""
    return getattr(error, "problem", None) or one_line(error)


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`; did you mean ...?` with the known name that is most like `name`, or nothing when none is like it."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def one_line(error: BaseException) -> str:
    """The message of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__
