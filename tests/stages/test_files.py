"""Files and folders that appear when they are whole: never torn, never half replaced, and faults name the file."""

import json

import pytest

from glow_trl.errors import UserError
from glow_trl.stages.files import atomic_file, atomic_path, read_json, write_json


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_file(path) as file:
        file.write("old é")
    with atomic_file(path, "wb") as file:
        file.write(b"new")
        file.flush()
        assert path.read_text(encoding="utf-8") == "old é"
    assert path.read_bytes() == b"new" and [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_an_error_leaves_what_was_there_and_nothing_beside(tmp_path):
    write_json(tmp_path / "file.json", {"a": 1})
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "file.json") as file:
        file.write("torn")
        raise RuntimeError
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "folder") as partial:
        partial.mkdir()
        (partial / "part").write_text("torn")
        raise KeyboardInterrupt
    assert read_json(tmp_path / "file.json") == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_a_folder_appears_whole_also_after_a_start_that_was_killed(tmp_path):
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "of an earlier start").write_text("")
    with atomic_path(tmp_path / "model") as partial:
        (partial / "sub").mkdir(parents=True)
        (partial / "sub" / "file").write_text("x")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "model",
        "model/sub",
        "model/sub/file",
    ]


def test_faults_name_the_file_and_a_full_disk_is_no_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/a\.json: cannot be written"):
        write_json(tmp_path / "file" / "a.json", {})
    (tmp_path / "b.json").mkdir()
    with pytest.raises(UserError, match=r"b\.json: cannot be written"):
        write_json(tmp_path / "b.json", {})
    (tmp_path / "c.json.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device.*c\.json") as error:
        write_json(tmp_path / "c.json", {})
    assert not isinstance(error.value, UserError)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["b.json", "file"]


def test_what_is_no_object_counts_as_none(tmp_path):
    for content in ("", "[1]", json.dumps({"a": 1})[:-1]):
        (tmp_path / "file.json").write_text(content)
        assert read_json(tmp_path / "file.json") is None
    assert read_json(tmp_path / "none.json") is None
