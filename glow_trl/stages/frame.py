"""The frame of a stage: its folder locked, its run recorded, and what went wrong left in good order."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import TrainingCollapsed, UserError
from .config import Settings
from .files import make_writable
from .lock import LOCK_FILE, exclusive
from .processes import is_main_process
from .record import RUN_FILE, StageRun


logger = logging.getLogger(__name__)


@contextlib.contextmanager
def stage_run(
    settings: Settings,
    output_dir: str | os.PathLike,
    inputs: Any = (),
    has_progress: Callable[[Path], Any] | None = None,
    **options: Any,
) -> Iterator[StageRun]:
    """
    Run a stage in its folder: nobody else writes there meanwhile, and `run.json` says what became of it.

    Inside the block, return if the run `is_complete`; else call `start` when data and settings are checked, and
    `complete` at the end. A first start that ends with a [`~glow_trl.errors.UserError`], or with another error before
    there is anything to go on with, leaves the folder to other settings; any other end is recorded, and the next start
    goes on.

    Args:
        settings ([`~glow_trl.stages.config.Settings`]): what the stage was told.
        output_dir (`str` or `os.PathLike`): its folder; made if it does not exist, and removed again if nothing was
            written into it.
        inputs (`Iterable[str]`, *optional*): files and folders that the stage reads.
        has_progress (`Callable`, *optional*): whether the folder holds what another start goes on with; by default,
            whether it holds anything but the record.
        **options: further arguments of [`~glow_trl.stages.record.StageRun`].

    Yields:
        [`~glow_trl.stages.record.StageRun`]: the record of the run.

    Raises:
        UserError: the folder cannot be written to, another process is writing there, or it holds a run with other
            settings or inputs.
    """
    folder = Path(output_dir)
    inputs = [path for path in inputs if path]
    refuse_overwriting(folder, inputs)
    options.setdefault("main_process", is_main_process())
    with folder_of_stage(folder) if options["main_process"] else contextlib.nullcontext():
        run = StageRun(settings.command, folder, settings, inputs, **options)
        if run.is_complete:
            logger.warning("%s: %s is complete, nothing to do", run.stage, folder)
        try:
            yield run
        except UserError:
            run.release() if run.is_new else _interrupt(run)
            raise
        except TrainingCollapsed as error:
            _interrupt(run, status="collapsed", collapsed=error.reason)
            raise
        except BaseException as error:
            # What can be gone on with is kept. Without any the next call, corrected, is a first start
            failed = isinstance(error, Exception)
            run.release() if failed and run.is_new and not (has_progress or _has_files)(folder) else _interrupt(run)
            raise


def refuse_overwriting(folder: Path, inputs: Iterable[str | os.PathLike]) -> None:
    """
    Raise a `UserError` where a stage reads the folder that it writes to, or a file in it, under whatever name: links
    hide none.
    """
    if not folder.is_dir():
        return
    places = {_identity(path): path for path in (*(p for p in folder.iterdir() if p.is_file()), folder)}
    places.pop(None, None)
    for path in inputs:
        if (place := places.get(_identity(path))) is not None:
            seen = str(place) if str(place) != str(path) else "it"
            where = "is the output folder" if place == folder else f"lies in the output folder ({seen})"
            raise UserError(f"the input {path} {where} and could be overwritten; choose another output_dir")


def _identity(path: str | os.PathLike) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _has_files(folder: Path) -> bool:
    """Whether a folder holds more than what every run begins with."""
    return any(path.name not in (RUN_FILE, LOCK_FILE, "config.new.yaml") for path in folder.iterdir())


def _interrupt(run: StageRun, **facts: Any) -> None:
    # On a full disk this fails as well, and the first error is the one to report
    with contextlib.suppress(OSError, UserError):
        run.interrupt(**facts)


@contextlib.contextmanager
def writing(output: str | os.PathLike | None, inputs: Iterable[str | os.PathLike] = ()) -> Iterator[Path | None]:
    """
    Hold a file or folder that a command writes as a whole, for this process; its parent is made if need be. Raises
    `UserError` where it is one of `inputs`, or lies in one that is a folder.
    """
    if output is None:
        yield None
        return
    path = Path(output).expanduser()
    if not path.name:
        raise UserError(f"{output}: cannot be written, as it is no name of a file or folder")
    for source in map(Path, inputs):
        files = [source, *(source.iterdir() if source.is_dir() else ())]
        if path.exists() and _identity(path) in map(_identity, files):
            raise UserError(f"{path}: the output would overwrite the input; give --output another name")
    make_writable(path.parent)
    with exclusive(path.parent / f".{path.name}{LOCK_FILE}", path):
        yield path


@contextlib.contextmanager
def folder_of_stage(folder: Path, lock_file: str = LOCK_FILE) -> Iterator[None]:
    """
    Hold a folder for this process, see [`~glow_trl.stages.lock.exclusive`]. It is made if it does not exist, and
    removed again if nothing was written into it.
    """
    is_new = not folder.exists()
    make_writable(folder)
    try:
        with exclusive(folder / lock_file, folder):
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
