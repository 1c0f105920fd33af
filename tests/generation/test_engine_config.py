"""What a checkpoint and an engine can be told: one base for all stages, and what of it decides the completions."""

import dataclasses

import pytest

from glow_trl.analysis.loss_config import LossConfig
from glow_trl.analysis.patterns.config import AnnotateConfig
from glow_trl.analysis.readiness.config import ReadyConfig
from glow_trl.collection.collecting.config import CollectConfig
from glow_trl.errors import UserError
from glow_trl.evaluation import EvalConfig
from glow_trl.generation import EngineConfig
from glow_trl.generation.base import Engine


ROWS = {"dataset_name": ["x.jsonl"], "output_dir": "o", "model_name_or_path": "m"}
READY = {"checkpoints": ["m"], "output_dir": "o"}


class Told(Engine):
    """Remembers its options; the weights are here, so it takes the precision."""

    def __init__(self, model_name_or_path, dtype="bfloat16", batch_size=1, **options):
        self.told = {"model": model_name_or_path, "dtype": dtype, "batch_size": batch_size} | options

    def stream(self, prompts, sampling, skip=()):
        return iter(())

    def close(self):
        pass


class ToldMessages(Told):
    takes_messages = True
    incidental_options = frozenset({"place"})


HERE, THERE = (f"{__name__}:{cls.__name__}" for cls in (Told, ToldMessages))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        # What is not set is the engine's to choose; batches have the stage's sizes if the engine makes any
        (EngineConfig("m", engine=HERE), {"dtype": "bfloat16", "batch_size": 512}),
        (
            EngineConfig("m", dtype="float32", batch_size=3, max_model_len=9, engine=HERE, engine_options={"x": 1}),
            {"dtype": "float32", "batch_size": 3, "max_model_len": 9, "x": 1},
        ),
        (EngineConfig("m", engine=HERE, engine_options='{"batch_size": 7}'), {"dtype": "bfloat16", "batch_size": 7}),
        # A server was started with its own; it has the chat template
        (
            EngineConfig("m", dtype="float32", max_model_len=9, engine=THERE, engine_options={"place": "a"}),
            {"dtype": "bfloat16", "batch_size": 1, "place": "a", "chat_template_kwargs": {"a": 1}},
        ),
    ],
)
def test_an_engine_is_told_what_is_set_and_concerns_it(config, told):
    engine = config.create_engine(chat_template_kwargs={"a": 1})
    assert engine.told == {"model": "m"} | told


def test_what_is_set_for_nothing_is_said(caplog):
    EngineConfig("m", dtype="float32", engine=THERE).create_engine()
    assert "dtype: for engines in this process" in caplog.text


def test_only_what_decides_the_completions_binds_a_run():
    def config(**options):
        return EngineConfig("m", engine=THERE, engine_options=options)

    same = [config(), config(place="a"), config(place="b")]
    assert [item.identity() for item in same] == [{"engine_options": {}}] * 3
    assert len({str(item.model_identity()) for item in same}) == 1
    assert config(place="a", extra=1).identity() == {"engine_options": {"extra": 1}}
    others = [config(extra=1), EngineConfig("m", engine=THERE, dtype="float32"), EngineConfig("n", engine=THERE)]
    others.append(EngineConfig("m", engine=THERE, max_model_len=7))
    assert len({str(item.model_identity()) for item in [*same, *others]}) == 5
    in_smaller_batches = EngineConfig("m", engine_options={"batch_size": 3, "batch_tokens": 9}, batch_size=1)
    assert in_smaller_batches.model_identity() == EngineConfig("m").model_identity()


@pytest.mark.parametrize(
    ("cls", "settings", "changeable"),
    [
        (CollectConfig, ROWS, set()),
        (LossConfig, ROWS, {"by", "most_values", "write_log_probs"}),
        (
            AnnotateConfig,
            ROWS,
            {"num_judgements", "max_retries", "require_quotes", "per_label", "limit", "truth_column", "cache_dir"},
        ),
        (
            ReadyConfig,
            READY,
            {"only", "held_out", "group_size", "rank_by", "budget", "coverage_k"},
        ),
        (
            EvalConfig,
            {},
            {"benchmarks", "only", "limit", "on_bad_gold", "in_domain", "k_values", "majority", "rescore"}
            | {"entropy", "entropy_questions", "restated"},
        ),
    ],
)
def test_the_settings_that_a_run_may_go_on_with(cls, settings, changeable):
    """Each stage's own, and the sizes of batches: memory may be shorter the second time."""
    marked = {item.name for item in dataclasses.fields(cls(**settings)) if item.metadata.get("changeable")}
    assert marked == changeable | {"batch_size", "batch_tokens"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"engine_options": {"api_key": "sk-1"}}, "environment variable"),
        ({"engine_options": "[1]"}, "engine_options: expected a mapping"),
        ({"temperature": -1.0}, "temperature is -1.0"),
    ],
)
@pytest.mark.parametrize(
    ("cls", "settings"), [(CollectConfig, ROWS), (AnnotateConfig, ROWS), (EvalConfig, {}), (ReadyConfig, READY)]
)
def test_every_stage_checks_the_same(cls, settings, setting, message):
    with pytest.raises(UserError, match=message) as error:
        cls(**settings, **setting)
    assert "sk-1" not in str(error.value)
