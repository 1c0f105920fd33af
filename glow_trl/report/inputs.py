"""Whether what stands in a run's folder belongs to the run as it is now, by the fingerprints of its inputs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..stages.fingerprint import fingerprint
from ..stages.record import read_run


# Stages that may be run into any folder of a run
ANALYSES = ("annotate", "loss", "ready")
_WEIGHTS = (".safetensors", ".bin")
_HASHED_AS_TODAY = 16 << 20


def short_path(path: str | Path) -> str:
    """The last two parts of a path: enough to know a file by, without where the run's folder is."""
    return "/".join(Path(path).parts[-2:])


@dataclass(frozen=True)
class Standing:
    """What has become of the inputs of a stage since it read them.

    Args:
        changed (`tuple[str, ...]`): a sentence for each that is another now, or gone: the stage's results are stale.
        unchecked (`tuple[str, ...]`): those that are not here, so that nothing can be said of them.
        belongs (`bool`): whether any of them is the run's, or was read by one of its stages.
        recorded (`bool`): whether the stage has recorded any.
    """

    changed: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    belongs: bool = True
    recorded: bool = True

    @property
    def mark(self) -> str:
        """In a word or two, why this is no result of the run as it is now; empty if it is one."""
        return "stale" if self.changed else "" if self.belongs or not self.recorded else "not of this run"

    @property
    def why(self) -> str:
        """What the mark means here; without a mark, what could not be checked, if anything."""
        if self.changed:
            return "; ".join(self.changed)
        if not self.recorded:
            return "what it was made from is not recorded"
        names = f"{', '.join(self.unchecked)} could not be checked" if self.unchecked else ""
        if not self.belongs:
            return "no stage of the run made or read the same inputs" + (f" ({names})" if names else "")
        return names


class Inputs:
    """The files and folders that the stages of a run have read, as they are now; each is read once.

    Args:
        folder (`Path`): the run's folder, which may have moved since.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._digests: dict[Path, str | None] = {}
        self._standings: dict[Path, Standing] = {}
        self._of_run: set[str] | None = None

    def standing(self, stage: Path) -> Standing:
        """What has become of the inputs of the stage in a folder."""
        if stage not in self._standings:
            # Nothing is its own input, but a record may say so
            self._standings[stage] = Standing()
            self._standings[stage] = self._compare(read_run(stage) or {})
        return self._standings[stage]

    def find(self, name: str, digest: str | None) -> Path | None:
        """An input with the content that it had: in the run's folder, or where it was."""
        return next((path for path in self._places(name) if digest and self._digest(path) == digest), None)

    def _compare(self, record: dict[str, Any]) -> Standing:
        changed, unchecked = [], []
        belongs = False
        for name, digest in _read_by(record):
            places = self._places(name)
            path = self.find(name, digest)
            belongs = belongs or digest in self._digests_of_run() or (path is not None and self._holds(path))
            if path is not None:
                if self._holds(path) and path != self.folder and self.standing(_stage_of(path)).changed:
                    changed.append(f"{short_path(name)} is stale itself")
            elif any(not self._is_emptied(place, record) and _is_comparable(place, record) for place in places):
                changed.append(f"{short_path(name)} has changed since")
            elif not places and self._was_here(name):
                changed.append(f"{short_path(name)} is gone")
            else:
                unchecked.append(short_path(name))
        return Standing(tuple(changed), tuple(unchecked), belongs, any(_read_by(record)))

    def _places(self, name: str) -> list[Path]:
        """Where an input may be: in the run's folder, wherever that is now; if it is not there, where it was."""
        parts = Path(name).parts
        own = [self.folder.joinpath(*parts[-count:]) for count in (4, 3, 2) if len(parts) > count]
        found = [path for path in own if path.exists()]
        return found or [path for path in [Path(name)] if path.exists()]

    def _digest(self, path: Path) -> str | None:
        if path not in self._digests:
            self._digests[path] = fingerprint(path)
        return self._digests[path]

    def _digests_of_run(self) -> set[str]:
        """Of all that the run's own stages, which analyses are not, have read."""
        if self._of_run is None:
            paths = [*self.folder.glob("*/run.json"), *self.folder.glob("*/*/run.json")]
            records = [read_run(path.parent) or {} for path in paths]
            own = [record for record in records if record.get("stage") not in (*ANALYSES, "eval")]
            self._of_run = {digest for record in own for _, digest in _read_by(record)}
        return self._of_run

    def _holds(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.folder.resolve())

    def _was_here(self, name: str) -> bool:
        return self.folder.resolve().name in Path(name).parts[:-1] or self._holds(Path(name))

    @staticmethod
    def _is_emptied(path: Path, reader: dict[str, Any]) -> bool:
        """Whether a model's weights were deleted after the reader had begun, and it is not being made anew."""
        if not path.is_dir() or any(file.suffix in _WEIGHTS for file in path.iterdir()):
            return False
        maker = read_run(path) or {}
        return maker.get("status") == "complete" and str(maker.get("finished")) <= str(reader.get("started"))


def _read_by(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a stage has read, by name, with the fingerprints: data and model, and the questions of benchmarks."""
    yield from ((name, digest) for name, digest in (record.get("data") or {}).items() if digest)
    for facts in ((record.get("depends_on") or {}).get("benchmarks") or {}).values():
        for name, digest in (("path", "data"), ("exclude", "excluded")):
            if facts.get(name) and facts.get(digest):
                yield str(facts[name]), facts[digest]


def _is_comparable(path: Path, reader: dict[str, Any]) -> bool:
    """Whether a fingerprint can be that of today: before records named the machine, folders had others."""
    return "machine" in reader or (path.is_file() and path.stat().st_size <= _HASHED_AS_TODAY)


def _stage_of(path: Path) -> Path:
    """The folder of the stage that made a file or folder."""
    return path if path.is_dir() else path.parent
