"""Digests of files and models, by which a run knows its inputs again."""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import UserError
from .files import read_json


# What `from_pretrained` may read in a model's folder: weights, configurations, tokenizers, templates, code
_MODEL_SUFFIXES = {".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".tiktoken", ".py"}
# What the stage that made the folder keeps beside its result does not change the result
_BOOKKEEPING = {"run.json", "trainer_state.json", "training_args.bin"}
_MODEL_SUBFOLDERS = ("additional_chat_templates",)

# Smaller files are hashed in less time than the cache takes
_WORTH_CACHING = 8 << 20
_MOST_CACHED = 4096
# A file system's clock may stand still so long: a file that changed this short ago may change again unseen
_CLOCK_STEP_NS = 2_000_000_000
_THREADS = 4


def fingerprint(path: str | os.PathLike) -> str | None:
    """
    A digest of a file's whole content, or of the names and contents of what makes up the model in a folder, with the
    local base model of an adapter; `None` where there is no such path. Digests of large files are kept in the user's
    cache folder, by path, size, inode and times.
    """
    path = Path(path)
    if path.is_file():
        return _digests([path])[0][:16]
    if not path.is_dir():
        return None
    files = sorted(_model_files(path))
    digest = hashlib.sha256()
    for file, content in zip(files, _digests(files), strict=True):
        digest.update(f"{file.relative_to(path)}\0{content}\n".encode("utf-8", "surrogateescape"))
    base = (read_json(path / "adapter_config.json") or {}).get("base_model_name_or_path")
    if isinstance(base, str) and Path(base).is_dir() and not path.samefile(base):
        digest.update(f"{fingerprint(base)}\n".encode())
    return digest.hexdigest()[:16]


def hub_commit(name: str, revision: str | None = None) -> str | None:
    """The commit of a model on the Hub, as it lies in the cache of this machine; `None` where there is none."""
    from huggingface_hub import constants

    reference = Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}", "refs", revision or "main")
    with contextlib.suppress(OSError, ValueError):
        return reference.read_text(encoding="utf-8").strip()
    return None


def _model_files(folder: Path) -> Iterable[Path]:
    for place in (folder, *(folder / name for name in _MODEL_SUBFOLDERS)):
        for file in place.iterdir() if place.is_dir() else ():
            if file.suffix in _MODEL_SUFFIXES and file.name not in _BOOKKEEPING and file.is_file():
                yield file


def _digests(files: list[Path]) -> list[str]:
    """The SHA-256 of each file, several at a time."""
    cache = _Cache()
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        digests = list(pool.map(cache.digest, files))
    cache.save()
    return digests


class _Cache:
    """
    Digests of large files that have not changed since, in `glow_trl/fingerprints.json` of the user's cache folder.
    What of it cannot be read or written is done without; of two processes that write it at once one may lose its new
    entries.
    """

    def __init__(self) -> None:
        self._path = _cache_folder() / "fingerprints.json"
        self._new: dict[str, dict[str, Any]] = {}
        self._known: dict[str, Any] | None = None

    def digest(self, file: Path) -> str:
        before = file.stat()
        if before.st_size < _WORTH_CACHING:
            return _sha256(file)
        if self._known is None:
            self._known = read_json(self._path) or {}
        key, state = str(file.resolve()), _state(before)
        entry = self._known.get(key)
        if isinstance(entry, dict) and entry.get("state") == state and isinstance(entry.get("sha256"), str):
            return entry["sha256"]
        started = time.time_ns()
        digest = _sha256(file)
        settled = max(before.st_mtime_ns, before.st_ctime_ns) < started - _CLOCK_STEP_NS
        if settled and _state(file.stat()) == state:
            self._new[key] = {"state": state, "sha256": digest}
        return digest

    def save(self) -> None:
        if not self._new:
            return
        # As another process may have left it by now; the newest entries are the last
        known = read_json(self._path) or {}
        entries = [item for item in known.items() if item[0] not in self._new] + list(self._new.items())
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(dir=self._path.parent, prefix=".fingerprints")
            try:
                with open(descriptor, "w", encoding="utf-8") as output:
                    json.dump(dict(entries[-_MOST_CACHED:]), output)
                os.replace(partial, self._path)
            except BaseException:
                os.unlink(partial)
                raise


def _state(stat: os.stat_result) -> list[int]:
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error


def _cache_folder() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME", "")
    return Path(folder if os.path.isabs(folder) else os.path.expanduser("~/.cache")) / "glow_trl"
