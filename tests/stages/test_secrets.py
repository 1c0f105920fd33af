"""
A token planted in every setting that may hold one is found nowhere afterwards: not in what a command writes, in
whatever form, nor in what it says, whether it ends well or refuses.
"""

import base64
import contextlib
import dataclasses
import gzip
import http.server
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import typing
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest
import torch
import yaml

from glow_trl.cli import main
from glow_trl.stages import secrets
from glow_trl.stages.config import command_types
from glow_trl.stages.files import write_json
from glow_trl.stages.registry import COMMANDS, TRAINING_STAGES
from glow_trl.stages.secrets import hide, is_secret, remember, without_secrets
from helpers.launching import CPU, environment


PLANT = "planted0secret0value"
OTHER = "another0secret0value"
URL = f"https://user:{PLANT}@host.invalid/v1?token={PLANT}&x=1&api_key={PLANT}"
MAPPING = {
    "token": PLANT,
    "nested": [{"api_key": PLANT, "headers": {"Authorization": f"Bearer {PLANT}"}}],
    "base": URL,
}


@pytest.fixture
def glow_trl(capsys):
    """Run a command in this process: exit code, and all that it prints or logs, as a terminal would get it."""
    handler = logging._StderrHandler(logging.WARNING)
    logging.getLogger().addHandler(handler)

    def run(*argv):
        code = main([str(part) for part in argv])
        said = capsys.readouterr()
        return code, said.out + said.err

    yield run
    logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def forget():
    """What one test has seen the next does not know."""
    secrets._known.clear()
    yield
    secrets._known.clear()


def forms(plant: str) -> list[bytes]:
    """A text as it may stand in a file: as it is, in UTF-16, and within base64 at any of its three offsets."""
    raw = plant.encode()
    encoded = [base64.b64encode(bytes(offset) + raw + bytes(3))[offset and 4 : -8] for offset in range(3)]
    return [raw, plant.encode("utf-16-le"), *encoded]


def contents(data: bytes) -> typing.Iterator[bytes]:
    """The bytes of a file, and of what is packed in them."""
    yield data
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            yield from contents(archive.read(name))
    with contextlib.suppress(OSError, EOFError):
        yield gzip.decompress(data)


def found(*places: Path | str | bytes, plant: str = PLANT) -> list[str]:
    """Where the plant is, among files, texts, and all that lies in folders."""
    leaks = []
    for place in places:
        if isinstance(place, Path):
            files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
            named = [(str(path), path.read_bytes()) for path in files]
            leaks += [str(path) for path in place.rglob("*") if plant in path.name]
        else:
            named = [("text", place if isinstance(place, bytes) else place.encode())]
        for name, data in named:
            leaks += [name for part in contents(data) for form in forms(plant) if form in part]
    return leaks


def test_the_search_finds_what_is_hidden_in_many_ways(tmp_path):
    torch.save({"a": PLANT}, tmp_path / "a.bin")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", PLANT * 50)
    for offset in range(3):
        (tmp_path / f"c{offset}").write_bytes(base64.b64encode(b"xyz"[:offset] + PLANT.encode() + b"12345"))
    assert {Path(name).name for name in found(tmp_path)} == {"a.bin", "b.zip", "c0", "c1", "c2"}


@pytest.mark.parametrize(
    "name",
    "hub_token push_to_hub_token api_key OPENAI_API_KEY HF_TOKEN WANDB_API_KEY token apiKey Authorization x-api-key "
    "password db_pwd sft.hub_token --hub-token client_secret aws_secret_access_key access_token "
    "MY_COMPANY_TOKEN".split(),
)
def test_names_of_secrets(name):
    assert is_secret(name) and PLANT not in json.dumps(without_secrets({"a": [{name: PLANT}]}))


@pytest.mark.parametrize(
    "name",
    "pad_token eos_token max_new_tokens num_tokens token_mean tokenizer n_tokens token_loss api_key_env key keys "
    "mask_token decoder_start_token_id image_token stop_token think_token password_file author secret_sauce PWD "
    "OLDPWD".split(),
)
def test_names_of_other_things_stay(name):
    assert without_secrets({name: PLANT}) == {name: PLANT}


def test_what_is_only_called_like_a_token_stays_with_its_own_content_looked_at():
    """An arm or a weighting may be named so."""
    arms = {"by_token": {"weighting_kwargs": {"iw_sft_token": {"max_weight": 2, "api_key": PLANT}}}}
    assert without_secrets(arms) == {"by_token": {"weighting_kwargs": {"iw_sft_token": {"max_weight": 2}}}}


def test_no_setting_of_ours_is_taken_for_a_secret_that_is_none():
    for command in COMMANDS:
        names = {item.name for cls in command_types(command) for item in dataclasses.fields(cls)}
        assert {name for name in names if is_secret(name)} == ({"hub_token"} if command in TRAINING_STAGES else set())


@pytest.mark.parametrize(
    "text",
    [
        URL,
        f"git+https://{PLANT}@github.com/a/b",
        f"no connection to 'postgresql://me:{PLANT}@h:1/x'",
        f'{{"api_key": "{PLANT}"}}',
        f"Authorization: Bearer {PLANT}",
        f"OPENAI_API_KEY={PLANT} is wrong",
        f"https://h/x?sig={PLANT}",
    ],
)
def test_forms_of_secrets(text):
    assert PLANT not in hide(text)


@pytest.mark.parametrize(
    "text",
    [
        "hub_token: not a name",
        "https://github.com/a/b?x=1#y",
        "pad_token=<pad>, max_new_tokens=5, eos_token='<|im_end|>'",
        "the token: expected a number",
        "me@example.com wrote to http://localhost:8000/v1",
        "hf_transfer, sk-learn, task-12",
    ],
)
def test_other_texts_stay(text):
    assert hide(text) == text


def test_a_path_in_the_environment_is_no_secret(tmp_path):
    remember({"PWD": str(tmp_path), "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path), "A_TOKEN": PLANT})
    assert hide(f"{tmp_path} {PLANT}") == f"{tmp_path} ***"


def test_what_was_seen_once_is_hidden_everywhere():
    remember(["--engine_options", f"{{api_key: {PLANT}}}", "--sft.hub_token", OTHER, "--x", "visible"])
    assert hide(f"{PLANT} or {OTHER}, visible") == "*** or ***, visible"


@pytest.mark.parametrize(
    "secret", ["qu'o\"te\\\\d-word", "a b/c&d=e?f-word", "-----BEGIN-----\nfirst0line0\nsecond0line"]
)
def test_a_secret_is_hidden_however_it_is_quoted(secret, tmp_path):
    remember({"password": secret})
    for text in (secret, repr(secret), json.dumps(secret), quote(secret, safe=""), " ".join(secret.split())):
        shown = hide(text)
        assert not any(word in shown for word in ("word", "first0", "second0")), shown
    write_json(tmp_path / "a.json", {"status": {"a": ["x " + secret]}})
    assert json.loads((tmp_path / "a.json").read_text()) == {"status": {"a": ["x ***"]}}


def test_a_secret_that_is_a_common_word_leaves_records_readable(tmp_path):
    remember({"password": "status"})
    write_json(tmp_path / "a.json", {"status": "complete"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"status": "complete"}


def field_values(command: str) -> dict[str, typing.Any]:
    """Settings of a command that take a text, a list or a mapping, each with a planted value."""
    planted: dict[str, typing.Any] = {}
    for cls in command_types(command):
        hints = typing.get_type_hints(cls)
        for item in dataclasses.fields(cls):
            kinds = {
                typing.get_origin(part) or part for part in (hints[item.name], *typing.get_args(hints[item.name]))
            }
            if dict in kinds:
                planted[item.name] = MAPPING
            elif list[int] in (hints[item.name], *typing.get_args(hints[item.name])):
                continue
            elif list in kinds:
                planted[item.name] = [URL]
            elif str in kinds:
                planted[item.name] = PLANT if is_secret(item.name) else URL
    return planted


REQUIRED = {
    "run": {"recipe": "RECIPE", "output_dir": "OUT"},
    "collect": {"dataset_name": "DATA", "model_name_or_path": "MODEL", "output_dir": "OUT"},
    "label": {"dataset_name": "DATA", "output_dir": "OUT"},
    "mix": {"dataset_name": "DATA", "output_dir": "OUT"},
    "eval": {"benchmarks": "[{name: b, path: DATA}]", "model_name_or_path": "./nowhere/x", "output_dir": "OUT"},
    "merge": {"adapter": "nowhere", "output": "OUT"},
    "compare": {"first": "nowhere", "second": "nowhere"},
    "entropy": {"models": "./nowhere/x", "benchmarks": "[{name: b, path: DATA}]", "output_dir": "OUT"},
    "ready": {"checkpoints": "./nowhere/x", "questions": "DATA", "output_dir": "OUT"},
    "report": {"run_dir": "nowhere"},
    "dynamics": {"run_dir": "nowhere"},
    "loss": {"dataset_name": "DATA", "model_name_or_path": "./nowhere/x", "output_dir": "OUT"},
    "annotate": {
        "dataset_name": "DATA",
        "model_name_or_path": "./nowhere/x",
        "output_dir": "OUT",
        "taxonomy": "quickstart",
    },
    "audit": {"source": "DATA", "output_dir": "OUT"},
    "verify": {"file": "nowhere", "output": "OUT"},
    "study": {"study": "nowhere"},
}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in TRAINING_STAGES])
def test_every_setting_of_every_command_alone(glow_trl, command, trajectories, tmp_path, monkeypatch):
    """On the command line and in a file, as text, list or mapping. Most are refused, and quoted."""
    monkeypatch.chdir(tmp_path)
    fixed = {"DATA": trajectories, "OUT": "out", "MODEL": "./nowhere/x", "RECIPE": str(tmp_path / "recipe")}
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "sft.yaml").write_text("dataset_name: nowhere.jsonl")
    said = ""
    for name, value in field_values(command).items():
        given = REQUIRED[command] | {name: value}
        for word, text in fixed.items():
            given = {key: item.replace(word, text) if isinstance(item, str) else item for key, item in given.items()}
        argv = [
            part
            for key, item in given.items()
            for part in (f"--{key}", item if isinstance(item, str) else json.dumps(item))
        ]
        config = tmp_path / "mine.yaml"
        config.write_text(yaml.safe_dump(given | {"env": {"MY_API_KEY": PLANT}}))
        for arguments in (argv, ["--config", "mine.yaml"]):
            # Files of recipes and benchmarks are not what is tried, so nothing gets far
            with contextlib.suppress(ImportError):
                said += f"{name}: {glow_trl(command, *arguments)[1]}\n"
        config.unlink()
    assert found(tmp_path, said) == [], [line for line in said.splitlines() if PLANT in line]
    monkeypatch.delenv("MY_API_KEY", raising=False)


@pytest.fixture(scope="module")
def settings_of_trainers():
    """What a run of either training stage takes that may hold a secret, all at once."""
    return {
        "hub_token": PLANT,
        "run_name": URL,
        "project": URL,
        "hub_model_id": URL,
        "trackio_space_id": URL,
        "model_init_kwargs": MAPPING,
        "lr_scheduler_kwargs": {},
        "report_to": "tensorboard",
        "save_steps": 1,
        "logging_steps": 1,
        "env": {"HF_TOKEN": OTHER, "SOME_SECRET": PLANT},
    }


def stage_argv(stage, tiny_model, trajectories, out):
    argv = ["--model_name_or_path", tiny_model, "--dataset_name", trajectories, "--output_dir", out, *CPU]
    argv += ["--per_device_train_batch_size", 8, "--max_steps", 2]
    more = ["--num_generations", 4, "--max_completion_length", 4, "--guard_enabled", "false"]
    return argv if stage == "sft" else [*argv, *more[:4]]


@pytest.mark.parametrize("stage", TRAINING_STAGES)
def test_a_training_stage_leaves_no_secret(
    glow_trl, stage, tiny_model, trajectories, tmp_path, settings_of_trainers, monkeypatch
):
    """TRL has the token while it trains; a changed one refuses nothing, and another learning rate does."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "out" / "events"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    module = sys.modules.get(f"glow_trl.{stage}") or __import__(f"glow_trl.{stage}", fromlist=["x"])
    seen = []
    train = module.loop.train
    monkeypatch.setattr(
        module.loop, "train", lambda trainer, run: (seen.append(trainer.args.hub_token), train(trainer, run))
    )
    known = {item.name for cls in command_types(stage) for item in dataclasses.fields(cls)} | {"env"}
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({key: value for key, value in settings_of_trainers.items() if key in known}))
    argv = [*stage_argv(stage, tiny_model, trajectories, tmp_path / "out"), "--config", config]
    code, said = glow_trl(stage, *argv)
    assert code == 0, said
    assert seen == [PLANT]
    out = tmp_path / "out"
    assert list(out.glob("checkpoint-*/training_args.bin")) and list(out.rglob("events.out.tfevents.*"))
    assert found(out, said) + found(out, plant=OTHER) == []
    args = torch.load(out / "training_args.bin", weights_only=False)
    assert not args.hub_token and args.learning_rate > 0 and "host.invalid" in args.run_name
    record = json.loads((out / "run.json").read_text())
    assert "host.invalid" in record["config"]["run_name"] and "hub_token" not in record["config"]
    # Complete, and taken for the same
    assert glow_trl(stage, *argv, "--hub_token", OTHER)[0] == 0
    code, said = glow_trl(stage, *argv, "--hub_token", OTHER, "--learning_rate", 0.5)
    assert code == 2 and "learning_rate" in said
    assert found(out, said, plant=OTHER) == []
    for name in ("HF_TOKEN", "SOME_SECRET"):
        os.environ.pop(name, None)


@pytest.mark.parametrize("stage", TRAINING_STAGES)
def test_a_training_stage_that_refuses_says_no_secret(
    glow_trl, stage, tiny_model, trajectories, tmp_path, monkeypatch, settings_of_trainers
):
    monkeypatch.chdir(tmp_path)
    said = ""
    for name, value in field_values(stage).items():
        argv = stage_argv(stage, "./nowhere/x", trajectories, tmp_path / "out")
        code, text = glow_trl(stage, *argv, f"--{name}", value if isinstance(value, str) else json.dumps(value))
        assert code == 2, (name, text)
        said += text
    assert found(tmp_path, said) == [], [line for line in said.splitlines() if PLANT in line]


def test_arguments_keep_their_secrets_in_the_process_alone(tmp_path):
    import copy

    from glow_trl.glow import GLOWConfig

    args = GLOWConfig(output_dir=str(tmp_path), hub_token=PLANT, num_train_epochs=2, use_cpu=True, run_name=URL)
    for kept in (args, copy.copy(args), copy.deepcopy(args), dataclasses.replace(args)):
        assert kept.hub_token == PLANT and kept.run_name == URL and f"{kept.hub_token}" == PLANT
    assert found(pickle.dumps(args), args.to_json_string(), str(args.to_sanitized_dict())) == []


class Server(http.server.BaseHTTPRequestHandler):
    """A teacher, a judge and a test taker that always says 2; it wants a key, and quotes the one that it refuses."""

    def do_GET(self):
        self.answer({"data": [{"id": "teacher", "owned_by": "me"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = '{"patterns": []}' if "patterns" in json.dumps(body) else "\\boxed{2}"
        choice = {"message": {"content": text}, "text": text, "finish_reason": "stop"}
        self.answer({"choices": [choice], "usage": {"completion_tokens": 3, "prompt_tokens": 2}})

    def answer(self, content):
        given = self.headers.get("Authorization", "")
        right = given == f"Bearer {PLANT}"
        content = content if right else {"error": {"message": f"Incorrect API key provided: {given}"}}
        data = json.dumps(content).encode()
        self.send_response(200 if right else 401)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        """The test's output has other things to say."""


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}/v1"
        listening.shutdown()


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("command", ["collect", "eval", "annotate"])
def test_a_stage_that_asks_a_server(glow_trl, command, right, server, trajectories, tmp_path, monkeypatch):
    key = PLANT if right else OTHER
    monkeypatch.setenv("MY_KEY", key)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    options = {"base_url": server, "api_key_env": "OPENAI_API_KEY", "max_retries": 0}
    options |= {"extra_body": {"user_token": key, "metadata": {"password": key}}}
    argv = ["--model_name_or_path", "teacher", "--engine", "server", "--output_dir", tmp_path / "out"]
    argv += ["--engine_options", json.dumps(options)]
    if command == "eval":
        argv += ["--benchmarks", f"[{{name: b, path: {trajectories}, limit: 3}}]"]
    else:
        argv += ["--dataset_name", trajectories, "--limit", 3]
    argv += ["--num_samples", 1] if command == "collect" else []
    code, said = glow_trl(command, *argv)
    assert code == (0 if right else 2), said
    assert "API key" in said or right
    assert found(tmp_path, said, plant=key) == []
    if right:
        options["extra_body"] = {"user_token": OTHER}
        code, said = glow_trl(
            command,
            *argv[:-4],
            *argv[-4:],
            "--engine_options",
            json.dumps(options | {"extra_body": {"user_token": OTHER, "metadata": {}}}),
        )
        assert code == 0 and "complete, nothing to do" in said, said


RECIPE = """
quickstart: {train_questions: 40, samples_per_question: 2, rl_questions: 32, test_questions: 8}
built_model: {hidden_size: 32, intermediate_size: 64, num_attention_heads: 2, num_key_value_heads: 2}
base: quickstart
env: {RECIPES_OWN_API_KEY: PLANT}
arms:
  glow: {hub_token: PLANT}
"""


def test_a_whole_run_leaves_no_secret(trajectories, tmp_path):
    """Planted in its recipe, in a stage's file, on its command line and in its environment."""
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "recipe.yaml").write_text(RECIPE.replace("PLANT", PLANT))
    own = {"max_steps": 2, "save_steps": 1, "hub_token": PLANT, "env": {"SECRET_TOKEN": PLANT}}
    (recipe / "sft.yaml").write_text(yaml.safe_dump(own | {"per_device_train_batch_size": 16, "warmup_steps": 0}))
    small = {"per_device_train_batch_size": 32, "max_completion_length": 4}
    small |= {"guard_max_clipped_ratio": None, "guard_max_entropy": None}
    (recipe / "grpo.yaml").write_text(yaml.safe_dump(own | small))
    (recipe / "eval.yaml").write_text(yaml.safe_dump({"num_samples": 1, "max_new_tokens": 4}))
    command = [sys.executable, "-m", "glow_trl", "run", str(recipe), "--output_dir", str(tmp_path / "out")]
    command += ["--grpo.run_name", URL, "--sft.model_init_kwargs", json.dumps(MAPPING), "--grpo.hub_token", PLANT]
    variables = environment(HF_TOKEN=PLANT, WANDB_API_KEY=PLANT)
    result = subprocess.run(command, capture_output=True, env=variables, cwd=tmp_path)
    assert result.returncode == 0, result.stderr.decode()[-3000:]
    assert found(tmp_path / "out", result.stdout, result.stderr) == []
    settings = yaml.safe_load((tmp_path / "out" / "glow" / "sft" / "config.yaml").read_text())
    assert settings["max_steps"] == 2 and "hub_token" not in settings
    result = subprocess.run([*command, "--sft.learning_rate", URL], capture_output=True, env=variables, cwd=tmp_path)
    assert result.returncode == 2 and found(tmp_path / "out", result.stdout, result.stderr) == []


def test_a_traceback_shows_no_secret(trajectories, tmp_path):
    (tmp_path / "mine.py").write_text(f"def kind(*args):\n    raise OSError('{URL}', '{OTHER}')\n")
    code = """if True:
        import sys
        from glow_trl.stages.command import guarded
        def broken():
            try:
                raise OSError(sys.argv[1])
            except OSError as error:
                raise RuntimeError(f"with {sys.argv[2]}") from error
        guarded(broken)
    """
    variables = environment(MY_API_KEY=OTHER)
    result = subprocess.run([sys.executable, "-c", code, URL, OTHER], capture_output=True, env=variables)
    assert b"RuntimeError: with ***" in result.stderr and b"host.invalid" in result.stderr
    assert found(result.stderr) + found(result.stderr, plant=OTHER) == []


def test_a_page_made_from_an_old_record_shows_none(glow_trl, tmp_path):
    """One that an earlier version wrote, with the secrets of its settings."""
    (tmp_path / "glow" / "sft").mkdir(parents=True)
    record = {"stage": "run", "status": "complete", "config": MAPPING, "command": ["x", "--hub_token", PLANT]}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "glow" / "sft" / "run.json").write_text(json.dumps(record | {"stage": "sft"}))
    code, said = glow_trl("report", tmp_path)
    assert code == 0, said
    assert found(tmp_path / "report.html", tmp_path / "summary.json", said) == []
