"""What imports what: no module of the package imports from a room above its own, and no two import each other."""

import ast
from itertools import pairwise
from pathlib import Path

from helpers.launching import ROOT


# Lowest first. A room imports from those in the lines before its own
LAYERS = [
    ["errors", "version"],
    ["stages"],
    ["statistics", "weighting"],
    ["data"],
    ["verifiers"],
    ["rewards", "benchmarks"],
    ["generation"],
    ["training"],
    ["glow"],
    ["collection", "evaluation"],
    ["analysis"],
    ["quickstart"],
    ["miniature"],
    ["sft", "grpo"],
    ["report"],
    ["recipes"],
    ["study"],
    ["cli"],
    ["__main__"],
]


def modules(package: Path) -> dict[str, Path]:
    """Name to file of all the modules of a package."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> list[tuple[str, int]]:
    """What a module imports of the package, at its top, in a function or for types, and the lines where."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            # What is imported is a module itself, or stands in one
            targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names]
        else:
            continue
        found += [(target, node.lineno) for target in targets if target in known and target != name]
    return found


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def upward(package: Path, layers: list[list[str]] = LAYERS) -> list[str]:
    """Imports from a room above, one line for each. What the package's own `__init__` imports is for its users."""
    known = modules(package)
    level = {name: number for number, names in enumerate(layers) for name in names}
    problems = [f"{known[name]}: {room(name)} is in no layer" for name in known if room(name) not in {"", *level}]
    for name, path in known.items():
        for target, line in imports(name, path, known):
            here, there = room(name), room(target)
            if not here or here == there or not {here, there} <= {"", *level}:
                continue
            if not there:
                problems.append(f"{path}:{line}: {name} imports the package itself")
            elif level[there] >= level[here]:
                problems.append(f"{path}:{line}: {name} imports {target}, which is not below")
    return problems


def circles(package: Path) -> list[str]:
    """Modules that import each other, directly or through others: one circle each, with the lines that close it."""
    known = modules(package)
    lines = {name: dict(reversed(imports(name, path, known))) for name, path in known.items()}
    problems, done = [], set()

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            circle = [*way[way.index(name) :], name]
            steps = [f"{known[a]}:{lines[a][b]} imports {b}" for a, b in pairwise(circle)]
            problems.append("; ".join(steps))
        elif name not in done:
            for target in lines[name]:
                visit(target, [*way, name])
            done.add(name)

    for name in known:
        visit(name, [])
    return problems


def test_no_import_from_above():
    problems = upward(ROOT / "glow_trl")
    assert not problems, "\n" + "\n".join(problems)


def test_no_circle():
    problems = circles(ROOT / "glow_trl")
    assert not problems, "\n" + "\n".join(problems)


def write(folder: Path, files: dict[str, str]) -> Path:
    package = folder / "house"
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for parent in (package, path.parent):
            (parent / "__init__.py").touch()
        path.write_text(text)
    return package


LAYERS_OF_THE_HOUSE = [["cellar"], ["kitchen", "hall"], ["attic"]]


def test_an_import_from_above_is_found(tmp_path):
    """At the top of a module and in a function, of a module and of what stands in it; also beside, and of a room that
    nothing is said about."""
    files = {
        "cellar/wine.py": "import os\n\n\ndef drink():\n    from ..attic import box\n",
        "cellar/coal.py": "import house.kitchen.stove\n",
        "kitchen/stove.py": "from ..cellar.coal import burn\nfrom ..hall import door\n",
        "hall/door.py": "from house import kitchen\n",
        "attic/box.py": "from ..kitchen import stove\n",
        "shed/rake.py": "",
    }
    package = write(tmp_path, files)
    found = [problem.removeprefix(f"{package}/") for problem in upward(package, LAYERS_OF_THE_HOUSE)]
    assert sorted(found) == [
        "cellar/coal.py:1: house.cellar.coal imports house.kitchen.stove, which is not below",
        "cellar/wine.py:5: house.cellar.wine imports house.attic.box, which is not below",
        "hall/door.py:1: house.hall.door imports house.kitchen, which is not below",
        "kitchen/stove.py:2: house.kitchen.stove imports house.hall.door, which is not below",
        "shed/__init__.py: shed is in no layer",
        "shed/rake.py: shed is in no layer",
    ]


def test_a_circle_is_found(tmp_path):
    """Of three modules, one import of them in a function; two that only share a third are none."""
    files = {
        "hall/a.py": "from .b import x\n",
        "hall/b.py": "from . import c, d\n",
        "hall/c.py": "def late():\n    from .a import y\n",
        "hall/d.py": "",
    }
    package = write(tmp_path, files)
    (found,) = circles(package)
    assert all(part in found for part in ("hall/a.py:1 imports", "hall/b.py:1 imports", "hall/c.py:2 imports"))
    (package / "hall" / "c.py").write_text("from . import d\n")
    assert not circles(package)
