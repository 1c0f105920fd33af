"""The terminal, or what is in its place: nothing that reaches it tells a secret or takes it over."""

import contextlib
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from .console import visible
from .secrets import hide


# What progress bars and tables are drawn with: colors, lines up and down, the rest of a line, the cursor's visibility
_DRAWING = re.compile(r"(\x1b\[(?:[0-9;]*m|[0-9]*[ABK]|\?25[hl])|\r)")


@contextlib.contextmanager
def safe_terminal() -> Iterator[None]:
    """
    While the block runs, whoever prints: show no secret, see [`~glow_trl.stages.secrets.hide`], nor in the traceback
    of an error that ends it; and of control characters only those that bars and tables are drawn with.
    """
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_SafeStream, streams)
    sys.excepthook = _show_error
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


class SafeFormatter(logging.Formatter):
    """Messages without control characters: they quote data, and nothing is drawn with them."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _SafeStream:
    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(_safe(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _safe(text: str) -> str:
    parts = _DRAWING.split(hide(text))
    return "".join(part if position % 2 else visible(part) for position, part in enumerate(parts))


def _show_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    sys.stderr.write(visible(hide("".join(traceback.format_exception(kind, error, trace)))))
