"""
The files of a recipe, read with what they do not say themselves: what `recipe.yaml` says once for all stages, and what
they take over from the recipe that theirs builds on. A stage gets the same settings by hand as in a run.
"""

import dataclasses
import os
import re
import sysconfig
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from .yaml_file import nearest, read_yaml


RECIPE_FILE = "recipe.yaml"

# What recipe.yaml says for all stages that know it
PROMPT = ("system_prompt", "prompt_template")
_COMMON = ("seed", *PROMPT)
_KINDS: dict[str, tuple[type, str]] = dict.fromkeys(
    ("description", "data", "base", "select_start", *PROMPT), (str, "a text")
)
_KINDS |= {"seed": (int, "a number"), "compare": (list, "a list")}


# Two ways to say how long to train, of which TRL lets the second win
LENGTHS = ("num_train_epochs", "max_steps")


@dataclass
class RecipeFile:
    r"""
    The file `recipe.yaml`: what holds for all stages, what the recipe makes on the spot, and its arms. Every key may
    be left out.

    Parameters:
        description (`str`, *optional*):
            What the recipe is for.
        data (`str`, *optional*):
            Where the data come from, for whoever does not have them.
        base (`str`, *optional*):
            Recipe that this one builds on: a path from this folder, or the name of a recipe beside it or of one that
            is shipped. Each file of the base holds here too, under this recipe's name; a file of the same name here
            says what differs. Mappings are merged key by key, anything else is replaced, and `null` takes away what
            the base says.
        seed (`int`, *optional*):
            Seed of data, model and all stages. A stage's file may have its own.
        system_prompt (`str`, *optional*):
            System turn of every prompt, in training and evaluation. Only the teacher of `collect.yaml` may be asked
            otherwise.
        prompt_template (`str`, *optional*):
            Text of the user turn, with `{problem}` in the place of the question; likewise.
        arms (`dict[str, dict]`, *optional*):
            What the recipe compares: for each arm, by a name of your choice, the settings of the SFT stage that it
            changes, and under `grpo` those of the GRPO stage. `stages: [grpo]` leaves SFT out: RL from the model that
            SFT would begin with; `select_start` in an arm holds for it alone. The first one is what is trained without
            `--compare` or `--arms`. By default [`~glow_trl.recipes.recipe.DEFAULT_ARMS`].
        select_start (`str`, *optional*, defaults to `"last"`):
            Which checkpoint of stage 1 stage 2 starts from: `"last"`, its result; `"ready"`, the epoch that
            `glow-trl ready` ranks first; or a measure by its name in `ready.json`, such as `pass@8`. Stage 1 then
            keeps its epochs (`save_strategy: epoch`), whatever `sft.yaml` says of that.
        compare (`list[str]`, *optional*):
            The arms that `--compare` trains; by default all.
        quickstart (`dict`, *optional*):
            Parameters of the embedded task's data, see [`~glow_trl.quickstart.QuickstartConfig`]; `{}` for the
            defaults.
        miniature (`dict`, *optional*):
            Likewise of a mixture of tasks, see [`~glow_trl.miniature.MiniatureConfig`]. Without either the recipe
            makes no data.
        built_model (`dict`, *optional*):
            Sizes of a small model, see [`~glow_trl.recipes.built_model.BuiltModelConfig`], that is built and used
            unless `--model_name_or_path` names another.
        built_model_training (`dict`, *optional*):
            Settings that replace those which the SFT stage has with the built model, for a training before all
            stages, into `prepare/trained_model` of the run: stages then begin with that model.
        built_model_settings (`dict[str, dict]`, *optional*):
            Stage to the settings that replace those of the stage's file while the built model is used.
        built_model_env (`dict[str, str]`, *optional*):
            Environment variables as in `env`, to set only while the built model is used.
        env (`dict[str, str]`, *optional*):
            Environment variables to set where they are not set already.
    """

    description: str = ""
    data: str = ""
    base: str | None = None
    seed: int | None = None
    system_prompt: str | None = None
    prompt_template: str | None = None
    arms: dict[str, Any] = field(default_factory=dict)
    select_start: str | None = None
    compare: list[str] = field(default_factory=list)
    quickstart: dict[str, Any] | None = None
    miniature: dict[str, Any] | None = None
    built_model: dict[str, Any] | None = None
    built_model_training: dict[str, Any] | None = None
    built_model_settings: dict[str, Any] = field(default_factory=dict)
    built_model_env: dict[str, Any] = field(default_factory=dict)
    env: dict[str, Any] = field(default_factory=dict)

    @property
    def embedded(self) -> dict[str, dict[str, Any]]:
        """The parameters of the data that the recipe makes, by the key that they stand under."""
        parts = {"quickstart": self.quickstart, "miniature": self.miniature}
        return {name: settings for name, settings in parts.items() if settings is not None}


def resolve_stage_file(path: Path, known: Container[str] = ()) -> dict[str, Any]:
    """
    What a stage's file says. Beside a `recipe.yaml` also what that says for the stage, and what the bases' files say.

    Of what holds for all stages a stage gets the settings that it knows, `known`. `env` in the result has the
    environment variables to set. Raises `UserError` for a file that is missing or malformed, or that asks the model in
    another way than `recipe.yaml`.
    """
    if (path.parent / RECIPE_FILE).is_file():
        recipe, settings = read_recipe_file(path.parent), _read_inherited(path.parent, path.name)
    else:
        recipe, settings = RecipeFile(), read_yaml(path)
    common = {key: getattr(recipe, key) for key in _COMMON if key in known and getattr(recipe, key) is not None}
    for key in PROMPT:
        if key in common and settings.get(key, common[key]) != common[key] and path.stem != "collect":
            raise UserError(
                f"{path}: {key} is {settings[key]!r}, and {common[key]!r} in {RECIPE_FILE} beside it: all stages ask "
                f"in one way, so say it in {RECIPE_FILE} alone"
            )
    env = settings.pop("env", None) or {}
    if not isinstance(env, dict):
        raise UserError(f"{path}: env: expected a mapping of names to values, found {type(env).__name__}")
    for name, value in env.items():
        if not isinstance(value, str | int | float) or "\0" in str(value):
            raise UserError(f"{path}: env: {name} must be a text or a number, found {value!r:.60}")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UserError(f"{path}: env: {name!r} cannot be the name of an environment variable")
    env = {name: value for name, value in recipe.env.items() if name not in os.environ} | env
    return common | settings | ({"env": env} if env else {})


def read_recipe_file(folder: Path) -> RecipeFile:
    """The `recipe.yaml` of a folder, with what it takes over from its base. Raises `UserError` if it is malformed."""
    path = folder / RECIPE_FILE
    if not path.is_file():
        return RecipeFile()
    content = {key: value for key, value in _read_inherited(folder, RECIPE_FILE).items() if value is not None}
    known = [item.name for item in dataclasses.fields(RecipeFile)]
    for key, value in content.items():
        if key not in known:
            raise UserError(f"{path}: unknown key {key!r} for {RECIPE_FILE}{nearest(key, known)}")
        kind, words = _KINDS.get(key, (dict, "a mapping"))
        if not isinstance(value, kind):
            raise UserError(f"{path}: {key} must be {words}, found {type(value).__name__}")
    return RecipeFile(**content)


def lineage(folder: Path) -> list[Path]:
    """
    The folders of a recipe, of its base, of the base's base, and so on. Raises `UserError` where one is not to be
    found.
    """
    folders = [folder]
    while (path := folders[-1] / RECIPE_FILE).is_file() and (base := read_yaml(path).get("base")) is not None:
        places = [folders[-1] / str(base), folders[-1].resolve().parent / str(base), shipped() / "recipes" / str(base)]
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            beside = [place.name for place in folders[-1].resolve().parent.glob("*/")]
            raise UserError(f"{path}: base: there is no recipe {base!r}{nearest(str(base), beside)}")
        if found.resolve() in [place.resolve() for place in folders]:
            raise UserError(f"{path}: base: {base!r} builds on this recipe, so this one cannot build on it")
        folders.append(found)
    return folders


def shipped() -> Path:
    """The folder that `recipes/` and `accelerate_configs/` are in: the source tree's, or where pip has put them."""
    tree = Path(__file__).resolve().parents[2]
    if (tree / "recipes" / "quickstart" / RECIPE_FILE).is_file():
        return tree
    return Path(sysconfig.get_path("data")) / "share" / "glow_trl"


def replace(settings: Mapping[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """
    Settings with others in their place. What says how long to train takes the place of all that said it before:
    otherwise `max_steps` would hold whatever `num_train_epochs` says.
    """
    left_out = LENGTHS if said(by, LENGTHS) else ()
    return {key: value for key, value in settings.items() if key not in left_out} | dict(by)


def said(settings: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those of `names` that settings have a value for; `max_steps: -1` is none."""
    return {name: settings[name] for name in names if str(settings.get(name)) not in ("None", "-1")}


def rebase(value: Any, root: str, new: str) -> Any:
    """`value` with `new` in the place of `root` in all paths that begin with it."""
    if isinstance(value, str):
        return new + value.removeprefix(root) if value == root or value.startswith(root + "/") else value
    if isinstance(value, Mapping):
        return {key: rebase(item, root, new) for key, item in value.items()}
    if isinstance(value, list):
        return [rebase(item, root, new) for item in value]
    return value


def _read_inherited(folder: Path, name: str) -> dict[str, Any]:
    """What a file of a recipe says, on top of what the files of that name in its bases say."""
    paths = [place / name for place in reversed(lineage(folder)) if (place / name).is_file()]
    content: dict[str, Any] = {}
    for path in paths or [folder / name]:
        own = rebase(read_yaml(path), f"outputs/{path.resolve().parent.name}", f"outputs/{folder.resolve().name}")
        content = _merge(content, own)
    return content


def _merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = replace(base, said(own, LENGTHS))
    for key, value in own.items():
        if value is None and key in base:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            merged[key] = _merge(base[key], value)
        else:
            merged[key] = value
    return merged
