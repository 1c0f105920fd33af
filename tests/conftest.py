"""What several test folders share: small models and data made on the spot, and the way to the real data."""

import atexit
import functools
import importlib.util
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest


# Before anything imports a Hugging Face library: no test needs the network, and none should wait for it.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "HF_DATASETS_CACHE" not in os.environ:
    # What the stages keep of their data; other workers and processes inherit it
    os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="glow-trl-datasets-")
    atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)

REPOSITORY = Path(__file__).resolve().parent.parent


@functools.cache
def group_of(file: str) -> str:
    """
    What one worker does where several share the tests: a file, as its fixtures are built once. Files that need vLLM
    go together, and so do those that start four processes, as both have gigabytes at a time.
    """
    path = REPOSITORY / file
    if "vllm" in path.stem or any(
        name in path.read_text(encoding="utf-8") for name in ("openai_server", "vllm_model")
    ):
        return "vllm"
    return "four processes" if path.stem in ("test_glow_processes", "test_glow_sharded") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """
    For `--dist loadscope`. `--dist loadgroup` does not know its groups with this version of pytest: it marks node ids,
    which no longer can be set.
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.partition("::")[0])

    return Groups(config, log)


def pytest_collection_modifyitems(config, items):
    """Several workers begin with the longest: vLLM, four processes, then the files that have slow tests."""
    if not hasattr(config, "workerinput"):
        return
    groups = {item: group_of(item.nodeid.partition("::")[0]) for item in items}
    slow = {groups[item] for item in items if item.get_closest_marker("slow")}
    first = {"vllm": -2, "four processes": -1}
    items.sort(key=lambda item: first.get(groups[item], groups[item] not in slow))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: `GLOW_TRL_DATA`, or `shared/data` beside the repository."""
    path = Path(os.environ.get("GLOW_TRL_DATA") or REPOSITORY.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set GLOW_TRL_DATA to the folder that has it")
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> str:
    """Folder of a two-layer Qwen2 model of some thousand parameters, with a word-level tokenizer and chat template."""
    from glow_trl.recipes.built_model import BuiltModelConfig, build_model

    path = tmp_path_factory.mktemp("tiny_model")
    config = BuiltModelConfig(hidden_size=32, intermediate_size=64, num_attention_heads=2, num_key_value_heads=2)
    build_model(config, ["0123456789+-*=;: abcdefghijklmnopqrstuvwxyz\\{}?.,\n"], path, vocabulary=["\\boxed{"])
    return str(path)


@pytest.fixture(scope="session")
def real_model() -> Path:
    """Folder of SmolLM2-135M-Instruct in float32."""
    from helpers.smollm2 import PACKAGES, smollm2

    folder = smollm2()
    if folder is None:
        pytest.skip(f"no pretrained model at {PACKAGES}; `make test` installs the package that has it")
    return folder


@pytest.fixture(scope="session")
def trajectories(tmp_path_factory) -> str:
    """Forty labelled trajectories on sums, half of them right."""
    from glow_trl.data import write_jsonl

    rng = random.Random(0)
    rows = []
    for i in range(40):
        a, b = rng.randrange(10), rng.randrange(10)
        right = i % 2 == 0
        answer = a + b + (0 if right else 1)
        rows.append(
            {
                "problem": f"{a}+{b}=?",
                "completion": f"{a}+{b}={answer}; \\boxed{{{answer}}}",
                "answer": str(a + b),
                "is_correct": right,
                "model": "made-up",
            }
        )
    path = tmp_path_factory.mktemp("data") / "trajectories.jsonl"
    write_jsonl(path, rows)
    return str(path)


@pytest.fixture
def glow_trl(capsys, caplog):
    """Run a command in this process: exit code and what it said (errors on stderr, messages in the log)."""

    from glow_trl.cli import main

    def run(*argv):
        caplog.clear()
        code = main([str(part) for part in argv])
        return code, capsys.readouterr().err + caplog.text

    return run


@pytest.fixture(scope="session")
def vllm_model(tmp_path_factory) -> str:
    """Folder of a model that vLLM runs: its attention wants a head dimension of at least 32. float32."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    from glow_trl.recipes.built_model import BuiltModelConfig, build_model

    path = tmp_path_factory.mktemp("vllm_model")
    config = BuiltModelConfig(hidden_size=64, intermediate_size=64, num_attention_heads=2, num_key_value_heads=2)
    build_model(config, ["0123456789+-*=;: abcdefghijklmnopqrstuvwxyz\\{}?.,\n"], path, vocabulary=["\\boxed{"])
    return str(path)


@pytest.fixture(scope="session")
def openai_server(vllm_model, tmp_path_factory) -> str:
    """Address of vLLM's server with that model under the name `teacher`."""
    from helpers.openai_server import serving

    with serving(vllm_model, tmp_path_factory.mktemp("server") / "server.log") as address:
        yield address
