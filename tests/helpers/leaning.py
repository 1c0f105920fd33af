"""
What the package takes of other libraries that these do not document, found in its source: private names, names of
modules that are not documented, and the parts of a trainer that are neither. `tests/test_canaries.py` watches them.
"""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from helpers.launching import ROOT


LIBRARIES = {"trl", "transformers", "accelerate", "datasets", "peft", "vllm", "deepspeed", "torch"}
LIBRARIES |= {"tokenizers", "safetensors", "huggingface_hub", "math_verify", "latex2sympy2_extended"}
# Modules below the top that have pages of their own in the documentation of their library
DOCUMENTED_MODULES = {
    "accelerate.logging",
    "huggingface_hub.errors",
    "safetensors.torch",
    "tokenizers.pre_tokenizers",
    "torch.utils.data",
    "transformers.utils.logging",
    "trl.rewards",
    "vllm.lora.request",
}
# Parts of a trainer, a callback and their arguments that are documented
DOCUMENTED_PARTS = set(
    "accelerator add_callback args control data_collator eval_dataset is_world_process_zero label_smoothing_factor "
    "loss_type max_steps model model_wrapped num_train_epochs optimizer processing_class remove_callback "
    "save_model state to_dict train train_dataset".split()
)
# Private names of Python's own, some of them documented; and names that are the package's own, and another's elsewhere
NOT_THEIRS = {"_actions", "_exit", "_replace", "_run_exitfuncs", "_tokenizer", "epoch", "seed"}
# Where the classes stand that the package derives from, or reaches into
_SOURCES = {
    "trl": ["trainer/base_trainer.py", "trainer/sft_trainer.py", "trainer/grpo_trainer.py", "scripts/utils.py"],
    "transformers": [
        *("trainer.py", "trainer_callback.py", "training_args.py", "hf_argparser.py"),
        *("generation/logits_process.py", "generation/stopping_criteria.py"),
    ],
    "accelerate": ["accelerator.py", "data_loader.py", "state.py"],
    "datasets": ["builder.py", "arrow_dataset.py"],
    "peft": ["peft_model.py"],
    "vllm": ["entrypoints/llm.py", "v1/engine/llm_engine.py"],
}
_OBJECTS = {"accelerator", "args", "dataloader", "dataset", "engine", "model", "state", "tokenizer", "trainer"}
# A method, an attribute of an instance, an attribute of a class
_MEMBER = re.compile(r"\bdef ([a-z_]\w*)|\bself\.([a-z_]\w*)|^    ([a-z_]\w*) *[:=]", re.MULTILINE)


def source(library: str, file: str) -> str:
    """The text of a file of an installed library, which is not imported."""
    spec = find_spec(library)
    assert spec is not None and spec.submodule_search_locations, f"{library} is not installed"
    return Path(spec.submodule_search_locations[0], file).read_text(encoding="utf-8")


@functools.cache
def members(library: str) -> frozenset[str]:
    """Names of what a library's classes have that the package derives from."""
    if find_spec(library) is None:
        return frozenset()
    found = (_MEMBER.findall(source(library, file)) for file in _SOURCES[library])
    return frozenset(name for file in found for groups in file for name in groups if name)


@functools.cache
def trees() -> dict[str, ast.Module]:
    """The syntax trees of the package's modules, by file."""
    paths = sorted((ROOT / "glow_trl").rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def places(name: str) -> list[str]:
    """Where the package says a name: `file:line`."""
    return _said().get(name.rpartition(".")[2], [])


@functools.cache
def _said() -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for file, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names = [alias.name for alias in node.names]
            else:
                names = [getattr(node, field, None) for field in ("attr", "arg", "name", "id", "value")]
            for name in names:
                if isinstance(name, str):
                    found[name][f"{file}:{getattr(node, 'lineno', 0)}"] = None
    return {name: list(where) for name, where in found.items()}


def leanings(modules: dict[str, ast.Module] | None = None) -> dict[str, list[str]]:
    """Undocumented names of the libraries, by what the package leans on them with: `file:line` of each use."""
    modules = trees() if modules is None else modules
    found: dict[str, list[str]] = defaultdict(list)
    own, derived = _own_names(modules), _derived_classes(modules)
    private = frozenset().union(*map(members, _SOURCES))
    of_trainers = members("trl") | members("transformers")
    for file, tree in modules.items():
        for name, line in _imported(tree):
            found[name].append(f"{file}:{line}")
        for node, owner in _with_class(tree):
            name = _reached_into(node, owner in derived, own, private, of_trainers)
            if name is not None and name not in NOT_THEIRS:
                found[name].append(f"{file}:{node.lineno}")
    return dict(found)


def _imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in LIBRARIES:
            hidden = "." in node.module and node.module not in DOCUMENTED_MODULES
            for alias in node.names:
                if hidden or alias.name.startswith("_"):
                    yield f"{node.module}.{alias.name}", node.lineno
                elif node.module == "math_verify" and alias.name == "parser":
                    yield "math_verify.parser", node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                top, _, rest = alias.name.partition(".")
                if top in LIBRARIES and rest and alias.name not in DOCUMENTED_MODULES:
                    yield alias.name, node.lineno


def _with_class(tree: ast.AST, owner: str | None = None) -> Iterator[tuple[ast.AST, str | None]]:
    """All nodes, each with the name of the class that it stands in."""
    for child in ast.iter_child_nodes(tree):
        yield child, owner
        yield from _with_class(child, child.name if isinstance(child, ast.ClassDef) else owner)


def _own_names(modules: dict[str, ast.Module]) -> set[str]:
    """What the package itself defines, or sets."""
    names = set()
    for tree in modules.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def _derived_classes(modules: dict[str, ast.Module]) -> set[str]:
    """The package's classes that have a class of a library among their bases."""
    bases: dict[str, set[str]] = {}
    foreign: set[str] = set()
    for tree in modules.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in LIBRARIES:
                foreign |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.ClassDef):
                bases[node.name] = {
                    # Of `Base[int]` the base
                    _dotted(base.value if isinstance(base, ast.Subscript) else base)
                    for base in node.bases
                }
    derived: set[str] = set()
    while more := {
        name
        for name, parents in bases.items()
        if name not in derived
        and any(parent in foreign | derived or parent.split(".")[0] in LIBRARIES for parent in parents)
    }:
        derived |= more
    return derived


def _reached_into(
    node: ast.AST, in_derived: bool, own: set[str], private: frozenset[str], of_trainers: frozenset[str]
) -> str | None:
    """The name of a library that a node stands on, if it does."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        name, receiver = node.name, "self"
        if not in_derived:
            return None
    elif isinstance(node, ast.Attribute):
        name, receiver = node.attr, _dotted(node.value)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and in_derived:
        name, receiver = node.id, "self"
        if not name.startswith("_"):
            return None
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        # Of `vars(object)["_name"]`
        return node.value if re.fullmatch(r"_[a-z]\w+", node.value) and node.value in private else None
    else:
        return None
    # Events of callbacks are documented
    if name.startswith(("__", "on_")):
        return None
    mine = receiver == "self" and not in_derived
    theirs = receiver.startswith("super()") or (receiver == "self" and in_derived)
    theirs = theirs or receiver.rpartition(".")[2] in _OBJECTS
    if name.startswith("_"):
        return name if name not in own or (theirs and not mine and name in private) else None
    of_trainer = receiver.startswith("super()") or receiver.rpartition(".")[2] == "trainer"
    of_trainer = of_trainer or (receiver == "self" and in_derived)
    return name if of_trainer and name in of_trainers and name not in DOCUMENTED_PARTS else None


def _dotted(node: ast.AST) -> str:
    """`self.trainer` of an expression; nothing of one that is no chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "super()" if isinstance(node, ast.Call) and _dotted(node.func) == "super" else ""
