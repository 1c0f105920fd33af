"""The losses that `glow-trl loss` measured, and whether the model was trained on their trajectories."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..data.paths import FILE_SUFFIXES
from ..stages.record import read_run
from .inputs import Inputs, short_path
from .run_data import RunData
from .training_data import rows_read, sources_of


def loss_sections(data: RunData) -> list[dict[str, Any]]:
    """
    The losses in the run's folder: `name` of the folder, `model` and `data` in short, `results` as in its
    `results.json`, the [`Standing`] of its inputs, and as `kind` and `relation` what the model has seen of the data.
    """
    sections = []
    for name, record, results in data.stage_results("loss"):
        kind, relation = _relation(data.inputs, record)
        sections.append(
            {
                "name": name,
                "model": short_path(results.get("model_name_or_path", "")),
                "data": [short_path(path) for path in results.get("data") or []],
                "results": results,
                "standing": data.inputs.standing(data.folder / name),
                "kind": kind,
                "relation": relation,
            }
        )
    return sections


def _relation(inputs: Inputs, record: dict[str, Any]) -> tuple[str, str]:
    """In two words and in a sentence: was the model trained on these files, by content, or on their questions?"""
    read = {name: digest for name, digest in (record.get("data") or {}).items() if digest}
    files = {name: digest for name, digest in read.items() if name.endswith(FILE_SUFFIXES)}
    models = [item for item in read.items() if item[0] not in files]
    found = [item for model in models for item in _trained_on(inputs, *model)]
    trained = [item for item in found if item is not None]
    unknown = "relation unknown", "What the model was trained on is not recorded here, or has changed since."
    if not files or not trained:
        return unknown
    seen = {digest: config for _, digest, config in trained}
    if set(files.values()) <= seen.keys():
        labels = {(seen[digest].get("config") or {}).get("trajectories", "all") for digest in files.values()} - {"all"}
        part = f", on its {' and '.join(sorted(labels))} trajectories only" if labels else ""
        return "training data", f"The model was trained on this very file{part}."
    if len(trained) < len(found):
        return unknown
    paths = [inputs.find(name, digest) for name, digest in files.items()]
    sources = [(inputs.find(name, digest), its) for name, digest, its in trained]
    if None in paths or any(path is None for path, _ in sources):
        return "another file", "The model was trained on other files. Not all are here, so no questions are compared."
    asked = _questions([path for path in paths if path], record)
    taught = set().union(*(_questions([path], its) for path, its in sources if path))
    both = len(asked & taught)
    if not both:
        return "held-out", f"The model was trained on none of these {len(asked):,} questions."
    return "overlap", f"The model was trained on {both:,} of these {len(asked):,} questions."


def _trained_on(inputs: Inputs, model: str, digest: str) -> Iterator[tuple[str, str, dict[str, Any]] | None]:
    """
    Name, fingerprint and the reader's record of each file that a model was trained on, in all of its stages; `None`
    for a model that is not here any more, and for a data set on the Hub. A model without a record is what the training
    began with.
    """
    folder = inputs.find(model, digest)
    if folder is None:
        yield None
        return
    record = read_run(folder) or {}
    for name, its_digest in sources_of(record).items():
        yield None if its_digest is None else (name, its_digest, record)
    for name, its_digest in (record.get("data") or {}).items():
        if its_digest and not name.endswith(FILE_SUFFIXES) and Path(name) != Path(model):
            yield from _trained_on(inputs, name, its_digest)


def _questions(files: list[Path], record: dict[str, Any]) -> set[str]:
    return {str(row.get("problem")) for row in rows_read(files, record)}
