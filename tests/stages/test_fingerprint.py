"""Fingerprints: every byte of an input counts, what lies beside it does not, and a second look costs no reading."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from glow_trl.errors import UserError
from glow_trl.stages import fingerprint as module
from glow_trl.stages.fingerprint import fingerprint
from helpers.launching import CPU, environment


LARGE = 17 << 20


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own; the file in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "glow_trl" / "fingerprints.json"


@pytest.fixture
def large(tmp_path):
    """A file that is cached: large, and changed a minute ago as far as the file system can tell."""
    path = tmp_path / "large.safetensors"
    path.write_bytes(os.urandom(1 << 20) + bytes(LARGE))
    return path


@pytest.fixture
def settled(monkeypatch):
    """A file system whose clock never stands still: what changed just now may be cached."""
    monkeypatch.setattr(module, "_CLOCK_STEP_NS", -1_000_000_000)


@pytest.fixture
def reads(monkeypatch):
    """The files that were really read."""
    seen = []
    read = module._sha256
    monkeypatch.setattr(module, "_sha256", lambda file: (seen.append(file.name), read(file))[1])
    return seen


def flip_byte(path, position):
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("position", [0, LARGE // 2, LARGE + (1 << 20) - 1])
def test_every_byte_of_a_large_file_counts(large, position):
    before = fingerprint(large)
    flip_byte(large, position)
    assert fingerprint(large) != before
    flip_byte(large, position)
    assert fingerprint(large) == before


def test_a_changed_model_is_not_taken_for_the_one_that_was_trained(glow_trl, tiny_model, trajectories, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    options = ["--model_name_or_path", model, "--dataset_name", trajectories, "--output_dir", tmp_path / "out", *CPU]
    options += ["--max_steps", 2, "--per_device_train_batch_size", 8]
    assert glow_trl("sft", *options)[0] == 0
    flip_byte(model / "model.safetensors", (model / "model.safetensors").stat().st_size // 2)
    code, said = glow_trl("sft", *options)
    assert code == 2 and f"the content of {model}" in said


def test_a_folders_fingerprint_is_its_models(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"1" * 100)
    found = {fingerprint(folder)}
    for name in ("chat_template.jinja", "tokenizer.model", "modeling.py", "additional_chat_templates/tools.jinja"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("a")
        found.add(fingerprint(folder))
        (folder / name).write_text("b")
        found.add(fingerprint(folder))
    assert len(found) == 9
    for name in ("run.json", "training_args.bin", "log.jsonl", "dynamics/dynamics.json", "checkpoint-1/model.bin"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    os.symlink(folder / "nowhere", folder / "dangling.json")
    assert fingerprint(folder) in found and fingerprint(tmp_path / "none") is None


def test_bytes_that_move_from_one_file_to_the_next_are_a_change(tmp_path):
    for name, texts in {"first": ("ab.txtc", ""), "second": ("", "ab.txtc")}.items():
        (tmp_path / name).mkdir()
        for file, text in zip(("a.txt", "b.txt"), texts, strict=True):
            (tmp_path / name / file).write_text(text)
    assert fingerprint(tmp_path / "first") != fingerprint(tmp_path / "second")


def test_an_adapter_includes_its_base_model(tmp_path):
    for name in ("adapter", "base"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("1")
    config = {"base_model_name_or_path": str(tmp_path / "base")}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    before = fingerprint(tmp_path / "adapter")
    (tmp_path / "base" / "model.safetensors").write_text("2")
    assert fingerprint(tmp_path / "adapter") != before


def test_a_file_that_cannot_be_read_is_an_error_for_people(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_text("{}")

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.hashlib, "file_digest", refuse)
    with pytest.raises(UserError, match=r"rows.jsonl: cannot be read \(Permission denied\)"):
        fingerprint(path)


def test_a_large_file_is_read_once(large, settled, reads):
    first = fingerprint(large)
    assert fingerprint(large) == first and reads == [large.name]


def test_a_change_that_restores_size_and_time_is_noticed(large, settled):
    """What counts is the time of change of the file's entry, which no program can set."""
    times, before = large.stat(), fingerprint(large)
    flip_byte(large, LARGE // 2)
    os.utime(large, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert large.stat().st_mtime_ns == times.st_mtime_ns and fingerprint(large) != before


def test_what_changed_a_moment_ago_is_not_kept(large, cache):
    """It may change again within one step of the file system's clock, which nothing would show."""
    fingerprint(large)
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"%s": 5}', '{"%s": {"state": null, "sha256": 5}}'])
def test_a_damaged_cache_is_as_good_as_none(large, cache, settled, content):
    expected = fingerprint(large)
    cache.write_text(content.replace("%s", str(large)))
    assert fingerprint(large) == expected


@pytest.mark.parametrize("folder", ["/proc/nowhere", "file"])
def test_without_a_place_for_the_cache_files_are_read_each_time(large, settled, reads, tmp_path, monkeypatch, folder):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / folder))
    assert fingerprint(large) == fingerprint(large) and len(reads) == 2


def test_the_cache_does_not_grow_without_bound(large, cache, settled, monkeypatch):
    monkeypatch.setattr(module, "_MOST_CACHED", 3)
    for number in range(5):
        other = large.with_name(f"{number}.safetensors")
        other.hardlink_to(large)
        fingerprint(other)
    assert [os.path.basename(name) for name in json.loads(cache.read_text())] == [
        f"{number}.safetensors" for number in (2, 3, 4)
    ]


def test_processes_share_the_cache(large, cache):
    """Four processes at once, on files of their own: none fails, and the cache stays whole."""
    code = """if True:
        import sys
        from pathlib import Path
        from glow_trl.stages import fingerprint as module
        module._CLOCK_STEP_NS = -1_000_000_000
        for number in range(20):
            path = Path(sys.argv[1] + f"-{number}")
            path.hardlink_to(sys.argv[2])
            print(module.fingerprint(path))
    """
    command = [sys.executable, "-c", code]
    options = {"stdout": subprocess.PIPE, "text": True, "env": environment()}
    few = large.with_name("few")
    few.write_bytes(bytes(9 << 20))
    processes = [
        subprocess.Popen([*command, str(large.with_name(str(number))), str(few)], **options) for number in range(4)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert {process.returncode for process in processes} == {0}
    assert set("".join(outputs).split()) == {fingerprint(few)}
    assert json.loads(cache.read_text()) and [path.name for path in cache.parent.iterdir()] == [cache.name]
