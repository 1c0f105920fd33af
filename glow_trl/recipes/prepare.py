"""What a recipe makes on the spot: the quickstart's data, and a small model."""

from pathlib import Path

from ..data import read_jsonl
from ..data.config import RowsConfig
from ..quickstart import VOCABULARY, QuickstartConfig, write_data
from ..stages.config import Settings
from ..stages.frame import stage_run
from .built_model import BuiltModelConfig, build_model
from .recipe import Recipe, build


def prepare(recipe: Recipe, output_dir: Path, built_model: bool) -> None:
    """
    Make the data and the model of a recipe, unless they are there.

    Args:
        recipe ([`~glow_trl.recipes.recipe.Recipe`]): the recipe.
        output_dir (`Path`): folder of the run; `prepare/data` and `prepare/model` in it are written.
        built_model (`bool`): whether the model is wanted.

    Raises:
        UserError: a parameter is wrong, or the folder cannot be written to.
    """
    file, where = recipe.file, recipe.folder / "recipe.yaml"
    folder = output_dir / "prepare"
    settings = {"quickstart": file.quickstart, "built_model": file.built_model if built_model else None}
    rows = None if file.quickstart is not None or not built_model else _rows(recipe, output_dir)
    told = Settings("prepare", (), settings, {}, settings, {})
    with stage_run(told, folder, rows.files if rows is not None else []) as run:
        if run.is_complete:
            return
        run.start()
        if file.quickstart is not None:
            counts = write_data(build(QuickstartConfig, file.quickstart, f"{where}: quickstart"), folder / "data")
        else:
            counts = {}
        if built_model:
            config = build(BuiltModelConfig, file.built_model or {}, f"{where}: built_model")
            if rows is None:
                texts = [row for _, row in read_jsonl(folder / "data" / "trajectories.jsonl")]
            else:
                texts = rows.load(["problem"] if "collect" in recipe.stages else ["problem", "completion"])
            vocabulary = VOCABULARY if file.quickstart is not None else None
            build_model(
                config,
                (row[key] for row in texts for key in ("problem", "completion") if row.get(key)),
                folder / "model",
                vocabulary,
            )
        run.complete(rows=counts)


def _rows(recipe: Recipe, output_dir: Path) -> RowsConfig:
    """What the recipe's first stage reads: what the built model's tokenizer is made for."""
    stage = recipe.stages[0]
    settings = recipe.settings(stage, output_dir, built_model=True)
    names = ("dataset_name", "dataset_config", "dataset_train_split", "columns", "limit")
    return RowsConfig(**{name: settings[name] for name in names if name in settings})
