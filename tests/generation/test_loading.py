"""A model that does not exist: one line, after one question to the Hub at most, from every command that loads one."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from glow_trl.cli import main
from glow_trl.data import write_jsonl
from helpers.launching import CPU


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with rows, a folder that is nearly named as the model, and an adapter of a model that is gone."""
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "rows.jsonl", [{"problem": "1+1=?", "completion": "2", "answer": "2"}])
    (tmp_path / "models" / "glow").mkdir(parents=True)
    (tmp_path / "adapter").mkdir()
    adapter = {"base_model_name_or_path": "models/glw"}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(adapter))
    return tmp_path


ROWS = ["--dataset_name", "rows.jsonl", "--output_dir", "out"]
COMMANDS = {
    "sft": [*ROWS, *CPU],
    "grpo": [*ROWS, *CPU, "--num_generations", "2", "--per_device_train_batch_size", "2"],
    "loss": ROWS,
    "collect": ROWS,
    "annotate": ROWS,
    "eval": ["--benchmarks", "gsm8k", "--output_dir", "out"],
    "entropy": ["--benchmarks", "gsm8k", "--output_dir", "out"],
}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("models/glw", "there is no folder models/glw here, and the Hub cannot be asked"),
        ("models/glw/sft", "there is no folder models/glw/sft; did you mean models/glow?"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistyped_name_is_one_line_that_names_the_nearest_folder(command, name, said, place, capsys, shared_data):
    model = [name] if command == "entropy" else ["--model_name_or_path", name]
    assert main([command, *model, *COMMANDS[command]]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"glow-trl: error: model_name_or_path: {said}"), error
    assert error.endswith("did you mean models/glow?")


class Hub(http.server.BaseHTTPRequestHandler):
    """Has no model, and says so as the Hub does."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(401)
        self.send_header("X-Error-Message", "Repository not found")
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("reachable", [True, False])
def test_the_hub_is_asked_once_and_nothing_else_is_printed(reachable, place, hub):
    """`from_pretrained` asks for one file after the other, each six times where the Hub does not answer."""
    address = f"http://127.0.0.1:{hub.server_port if reachable else 9}"
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(place / "cache")}
    command = [sys.executable, "-m", "glow_trl", "loss", "--model_name_or_path", "Qwen/Qwen2.5-0.6B", *ROWS]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert "there is no folder Qwen/Qwen2.5-0.6B here, and " in result.stderr
    assert ("no such model on the Hub" if reachable else "the Hub cannot be asked") in result.stderr
    assert len(hub.asked) == reachable
    assert not (place / "out").exists()


def test_an_adapter_of_a_model_that_is_gone_says_which(place, tiny_model, capsys):
    for file in Path(tiny_model).glob("*token*"):
        shutil.copy(file, place / "adapter")
    save_file({"base_model.model.lora_A.weight": torch.zeros(1, 1)}, place / "adapter" / "adapter_model.safetensors")
    assert main(["merge", "adapter", "--output", "merged"]) == 2
    error = capsys.readouterr().err
    assert "adapter cannot be merged into models/glw (--base_model names the model if it has moved)" in error
    assert "there is no folder models/glw here" in error and "did you mean models/glow?" in error
    assert error.count("\n") == 1 and not (place / "merged").exists()
