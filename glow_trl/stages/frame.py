"""The frame of a stage: its folder locked, its run recorded, and what went wrong left in good order."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from .config import Settings
from .files import make_writable
from .lock import LOCK_FILE, exclusive
from .record import StageRun


logger = logging.getLogger(__name__)


def is_main_process() -> bool:
    """Whether this is the only process of the run, or the first of several, by what their launcher set."""
    return int(os.environ.get("RANK", "0")) == 0


@contextlib.contextmanager
def stage_run(
    settings: Settings, output_dir: str | os.PathLike, inputs: Any = (), **options: Any
) -> Iterator[StageRun]:
    """
    Run a stage in its folder: nobody else writes there meanwhile, and `run.json` says what became of it.

    Inside the block, return if the run `is_complete`; else call `start` when data and settings are checked, and
    `complete` at the end. A first start that ends with a [`~glow_trl.errors.UserError`] leaves the folder to other
    settings; any other end is recorded, and the next start goes on.

    Args:
        settings ([`~glow_trl.stages.config.Settings`]): what the stage was told.
        output_dir (`str` or `os.PathLike`): its folder; made if it does not exist, and removed again if nothing was
            written into it.
        inputs (`Iterable[str]`, *optional*): files and folders that the stage reads.
        **options: further arguments of [`~glow_trl.stages.record.StageRun`].

    Yields:
        [`~glow_trl.stages.record.StageRun`]: the record of the run.

    Raises:
        UserError: the folder cannot be written to, another process is writing there, or it holds a run with other
            settings or inputs.
    """
    folder = Path(output_dir)
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
        except BaseException:
            _interrupt(run)
            raise


def _interrupt(run: StageRun) -> None:
    # On a full disk this fails as well, and the first error is the one to report
    with contextlib.suppress(OSError, UserError):
        run.interrupt()


@contextlib.contextmanager
def writing(output: str | os.PathLike | None) -> Iterator[Path | None]:
    """Hold a file or folder that a command writes as a whole, for this process; its parent is made if need be."""
    if output is None:
        yield None
        return
    path = Path(output).expanduser()
    if not path.name:
        raise UserError(f"{output}: cannot be written, as it is no name of a file or folder")
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
