"""The shipped `mix.yaml` files: every setting is known, and every benchmark that they name exists."""

from pathlib import Path

import pytest

from glow_trl.collection.mixing.benchmarks import resolve_benchmarks
from glow_trl.stages.config import parse_command


ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(ROOT.glob("recipes/*/mix.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_the_recipe_resolves(path):
    config = parse_command("mix", ["--config", str(path)]).config
    assert config.output_dir == f"outputs/{path.parent.name}/mix"
    benchmarks, left_out = resolve_benchmarks(config.decontaminate)
    assert {item.name for item in benchmarks} == set(config.decontaminate) and not left_out


def test_there_is_one():
    assert FILES
