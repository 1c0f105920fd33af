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
    "torch.distributed",
    "torch.utils.data",
    "transformers.utils.logging",
    "trl.rewards",
    "vllm.lora.request",
}
HIDDEN_MODULES = {"math_verify.parser"}
# Parts of a trainer, a callback and their arguments that are documented
DOCUMENTED_PARTS = set(
    "accelerator add_callback args control data_collator eval_dataset is_world_process_zero label_smoothing_factor "
    "loss_type max_steps model model_wrapped num_train_epochs optimizer processing_class remove_callback "
    "save_model state to_dict train train_dataset".split()
)
# Private names of Python's own, some of them documented; and names that are the package's own, and another's elsewhere
NOT_THEIRS = {"_actions", "_exit", "_fields", "_replace", "_run_exitfuncs", "_tokenizer", "epoch", "seed"}
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


# The nodes of a module's syntax tree, each with the name of the class that it stands in
Nodes = list[tuple[ast.AST, str | None]]


@functools.cache
def package() -> dict[str, Nodes]:
    """The package's modules, by file."""
    paths = sorted((ROOT / "glow_trl").rglob("*.py"))
    return {str(path.relative_to(ROOT)): nodes(path.read_text(encoding="utf-8")) for path in paths}


def nodes(text: str) -> Nodes:
    """The nodes of a module's text."""
    found: Nodes = [(ast.parse(text), None)]
    # Grows while it is gone through
    for node, owner in found:
        within = node.name if isinstance(node, ast.ClassDef) else owner
        found += [(child, within) for child in ast.iter_child_nodes(node)]
    return found


def places(name: str) -> list[str]:
    """Where the package says a name: `file:line`."""
    return _said().get(name.rpartition(".")[2], [])


@functools.cache
def _said() -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for file, module in package().items():
        for node, _ in module:
            if isinstance(node, ast.ImportFrom):
                names = [alias.name for alias in node.names]
            else:
                names = [getattr(node, field, None) for field in ("attr", "arg", "name", "id", "value")]
            for name in names:
                if isinstance(name, str):
                    found[name][f"{file}:{getattr(node, 'lineno', 0)}"] = None
    return {name: list(where) for name, where in found.items()}


def leanings(modules: dict[str, Nodes] | None = None) -> dict[str, list[str]]:
    """Undocumented names of the libraries, each with the places where the package leans on it: `file:line`."""
    modules = package() if modules is None else modules
    found: dict[str, list[str]] = defaultdict(list)
    own, derived = _own_names(modules), _derived_classes(modules)
    private = frozenset().union(*map(members, _SOURCES))
    of_trainers = members("trl") | members("transformers")
    for file, module in modules.items():
        for node, owner in module:
            names = list(_imported(node))
            name = _reached_into(node, owner in derived, own, private, of_trainers)
            names += [] if name is None or name in NOT_THEIRS else [name]
            for name in names:
                found[name].append(f"{file}:{node.lineno}")
    return dict(found)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in LIBRARIES:
        hidden = "." in node.module and node.module not in DOCUMENTED_MODULES
        for alias in node.names:
            if hidden or alias.name.startswith("_") or f"{node.module}.{alias.name}" in HIDDEN_MODULES:
                yield f"{node.module}.{alias.name}"
    elif isinstance(node, ast.Import):
        for alias in node.names:
            top, _, rest = alias.name.partition(".")
            if top in LIBRARIES and rest and alias.name not in DOCUMENTED_MODULES:
                yield alias.name


def _own_names(modules: dict[str, Nodes]) -> set[str]:
    """What the package itself defines, or sets."""
    names = set()
    for module in modules.values():
        for node, _ in module:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def _derived_classes(modules: dict[str, Nodes]) -> set[str]:
    """The package's classes that have a class of a library among their bases."""
    bases: dict[str, set[str]] = {}
    foreign: set[str] = set()
    for module in modules.values():
        for node, _ in module:
            if isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in LIBRARIES:
                foreign |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.ClassDef):
                # Of `Base[int]` the base
                parents = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
                bases[node.name] = set(map(_dotted, parents))
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
