"""What a recipe makes on the spot: embedded data, and a small model."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from .. import miniature, quickstart
from ..data import read_jsonl, write_jsonl
from ..data.config import RowsConfig
from ..errors import UserError
from ..quickstart import QuickstartConfig
from ..stages.config import Settings
from ..stages.frame import stage_run
from ..stages.recipe_file import RECIPE_FILE
from .built_model import BuiltModelConfig, build_model
from .recipe import BUILT_MODEL, PREPARE_DIR, Recipe, build


# By their keys in `recipe.yaml`
_EMBEDDED: dict[str, tuple[type[QuickstartConfig], Callable[..., dict[str, int]], Sequence[str]]] = {
    "quickstart": (QuickstartConfig, quickstart.write_data, quickstart.VOCABULARY),
    "miniature": (miniature.MiniatureConfig, miniature.write_data, miniature.VOCABULARY),
}


def prepared_configs(
    recipe: Recipe, built_model: bool, seed: int | None = None
) -> tuple[QuickstartConfig | None, BuiltModelConfig | None]:
    """
    What the recipe's data and, if it is wanted, its model are made of; `None` for what is not made. `seed` takes the
    place of the recipe's.
    """
    file, where = recipe.file, recipe.folder / RECIPE_FILE
    common = {} if file.seed is None else {"seed": file.seed}
    chosen = {} if seed is None else {"seed": seed}
    data = model = None
    embedded = file.embedded
    if len(embedded) > 1:
        raise UserError(f"{where}: {' and '.join(embedded)} both say what the data are made of: leave one out")
    for name, settings in embedded.items():
        data = build(_EMBEDDED[name][0], common | settings | chosen, f"{where}: {name}")
        data.validate()
    if built_model:
        model = build(BuiltModelConfig, common | (file.built_model or {}) | chosen, f"{where}: built_model")
    return data, model


def prepare(recipe: Recipe, output_dir: Path, built_model: bool, seed: int | None = None) -> None:
    """Make the data and the model of a recipe, unless they are there, in `prepare/data` and `prepare/model`."""
    data, model = prepared_configs(recipe, built_model, seed)
    folder = output_dir / PREPARE_DIR
    name = "quickstart" if data is None else data.name
    _, write_data, vocabulary = _EMBEDDED[name]
    resolved = {name: data and asdict(data), "built_model": model and asdict(model)}
    rows = _rows(recipe, output_dir) if data is None and model is not None else None
    told = Settings("prepare", (), resolved, {}, resolved, {})
    with stage_run(told, folder, rows.files if rows is not None else []) as run:
        if run.is_complete:
            return
        run.start()
        counts = {} if data is None else write_data(data, folder / "data")
        if model is not None:
            texts: Sequence[dict[str, Any]]
            if rows is None:
                texts = [row for _, row in read_jsonl(folder / "data" / "trajectories.jsonl")]
            else:
                taught = "collect" not in recipe.stages or recipe.file.built_model_training is not None
                texts = rows.load(["problem", "completion"] if taught else ["problem"])
            build_model(
                model,
                (row[key] for row in texts for key in ("problem", "completion") if row.get(key)),
                folder / BUILT_MODEL,
                None if data is None else vocabulary,
            )
            # Pieces that byte-pair encoding makes of a line may be others within a text
            if data is not None and model.tokenizer == "word":
                _add_log_probs(data, folder / "data" / "trajectories.jsonl", folder / BUILT_MODEL)
        run.complete(rows=counts)


def _add_log_probs(data: QuickstartConfig, path: Path, model: Path) -> None:
    """Write the teacher's log-probabilities beside its trajectories, by the tokens of the model."""
    from transformers import AutoTokenizer

    from ..quickstart.log_probs import with_log_probs

    rows = [row for _, row in read_jsonl(path)]
    write_jsonl(path, with_log_probs(rows, data.teacher(), AutoTokenizer.from_pretrained(model)))


def _rows(recipe: Recipe, output_dir: Path) -> RowsConfig:
    """What the built model is trained on, or else the first stage reads: what its tokenizer is made for."""
    settings = recipe.model_training(output_dir) or recipe.settings(recipe.stages[0], output_dir, built_model=True)
    names = [item.name for item in fields(RowsConfig)]
    return RowsConfig(**{name: settings[name] for name in names if name in settings})
