"""Choosing an engine, and what is said when it, the checkpoint or a setting does not fit."""

import subprocess
import sys

import pytest

from glow_trl.errors import MissingExtraError, UserError
from glow_trl.generation import Engine, Generation, SamplingConfig, create_engine
from glow_trl.generation.loading import adapter_config, load_tokenizer, local_folder


class EchoEngine(Engine):
    """Answers with the prompt; found by its dotted path."""

    def __init__(self, model_name_or_path: str, suffix: str = ""):
        self.suffix = suffix

    def stream(self, prompts, sampling, skip=()):
        for index, prompt in enumerate(prompts):
            yield index, [Generation(prompt + self.suffix, [1], 1, "stop")]

    def close(self):
        self.suffix = None


def test_an_engine_of_ones_own_is_found_by_its_path():
    engine = create_engine(f"{__name__}:EchoEngine", "model", suffix="!")
    assert engine.generate(["a", "b"], SamplingConfig())[1][0].text == "b!"


def test_an_unknown_engine_names_the_nearest():
    with pytest.raises(UserError, match="did you mean transformers"):
        create_engine("transformer", "model")


def test_an_engine_path_that_cannot_be_imported_is_the_users_to_mend():
    with pytest.raises(UserError, match="cannot be imported"):
        create_engine("no_such_package:Engine", "model")
    with pytest.raises(UserError, match="there is no EchEngine in .*; did you mean EchoEngine"):
        create_engine(f"{__name__}:EchEngine", "model")


def test_a_missing_vllm_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    sys.modules.pop("glow_trl.generation.vllm_engine", None)
    with pytest.raises(MissingExtraError, match=r"glow-trl\[vllm\]"):
        create_engine("vllm", "model")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": 0}, "num_samples"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 1.5}, "min_p"),
        ({"stop": ["a", ""]}, "stop"),
    ],
)
def test_sampling_settings_out_of_range(settings, message):
    with pytest.raises(UserError, match=message):
        SamplingConfig(**settings)


def test_a_folder_without_tokenizer_says_so(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="no tokenizer"):
        load_tokenizer(str(tmp_path))


def test_paths_and_model_ids_are_told_apart(tmp_path):
    assert local_folder(str(tmp_path)) == tmp_path
    assert local_folder("Qwen/Qwen2.5-0.5B") is None
    with pytest.raises(UserError, match="no folder"):
        local_folder("./no/such/folder")
    with pytest.raises(UserError, match="no folder"):
        local_folder("outputs/quickstart/sft")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        local_folder(str(tmp_path / "file"))


def test_an_adapter_without_base_is_the_users_to_mend(tmp_path):
    assert adapter_config(str(tmp_path)) is None
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="base_model_name_or_path"):
        adapter_config(str(tmp_path))


def test_importing_generation_and_evaluation_loads_no_framework():
    code = (
        "import sys, glow_trl.generation, glow_trl.evaluation, glow_trl.report;"
        "heavy = ('torch', 'transformers', 'trl', 'datasets', 'matplotlib', 'rich');"
        "print([name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_unknown_option_of_an_engine_names_those_that_there_are():
    with pytest.raises(UserError, match=r"engine_options of the engine 'server'.*base_url, api_key_env"):
        create_engine("server", "model", api_key="secret")


def test_an_engine_that_only_knows_whole_prompts_gives_single_samples():
    class Twice(EchoEngine):
        def stream(self, prompts, sampling, skip=()):
            for index, prompt in enumerate(prompts):
                if index not in skip:
                    yield index, [Generation(f"{prompt}{sample}", [1], 1, "stop") for sample in range(2)]

    drawn = Twice("model").stream_samples(["a", "b", "c"], SamplingConfig(2), {(0, 0), (0, 1), (1, 0)})
    assert [(index, sample, generation.text) for index, sample, generation in drawn] == [
        (1, 1, "b1"),
        (2, 0, "c0"),
        (2, 1, "c1"),
    ]
