"""Rows that were appended survive whatever ends the process, and nothing torn is ever read."""

import errno
import os

import pytest

from glow_trl.data.append_log import AppendLog
from glow_trl.errors import UserError


def rows_of(log):
    return [row for _, row in log.rows()]


@pytest.mark.parametrize("torn", [b"", b'{"a": 3, "te', b'{"a": 3}', b"x" * 200_000, b"\0" * 70_000])
def test_what_a_kill_cut_off_is_dropped_and_the_rest_is_kept(tmp_path, torn):
    with AppendLog(tmp_path / "new" / "log.jsonl") as log:
        log.append({"a": 1}, {"a": "é \ud800"})
        log.append({"a": 2})
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + torn)
    with AppendLog(log.path) as log:
        assert log.path.read_bytes() == whole
        log.append({"a": 3})
        assert rows_of(log) == [{"a": 1}, {"a": "é \ud800"}, {"a": 2}, {"a": 3}]


def test_a_file_without_a_whole_line_is_emptied(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b"x" * 150_000)
    with AppendLog(tmp_path / "log.jsonl") as log:
        assert rows_of(log) == []


def test_a_line_that_is_no_row_is_named_or_told(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"a": 1}\nno\n{"a": 2}\n')
    with AppendLog(tmp_path / "log.jsonl") as log:
        with pytest.raises(UserError, match=r"log\.jsonl, line 2: not valid JSON .*delete the line"):
            rows_of(log)
        bad = []
        assert [line for line, _ in log.rows(bad.append)] == [1, 3] and bad[0].line == 2


def test_a_full_disk_takes_whole_rows_or_none(tmp_path):
    """The disk has room for some bytes of a row, then for none."""
    with AppendLog(tmp_path / "log.jsonl") as log:
        log.append({"a": 1})
        real = log._file

        class Full:
            def fileno(self):
                return real.fileno()

            def write(self, text):
                if len(text) < 10:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real.write(text[:10])

            def truncate(self, size):
                return real.truncate(size)

        log._file = Full()
        with pytest.raises(OSError, match="No space left"):
            log.append({"a": "some long text"})
        log._file = real
        assert rows_of(log) == [{"a": 1}]
        log.append({"a": 2})
        assert rows_of(log) == [{"a": 1}, {"a": 2}]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        AppendLog(tmp_path)
