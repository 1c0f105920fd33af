"""Whether the files of a checkpoint in a local folder are whole, looked at before anything is loaded or begun."""

import hashlib
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

from ..data.handover import BASE_WEIGHTS, read_handover
from ..errors import UserError
from ..stages.config import naming
from ..stages.files import read_text
from ..stages.fingerprint import fingerprint
from .loading import adapter_config, local_folder


_WEIGHTS = ("model", "pytorch_model")
_ADAPTER_WEIGHTS = ("adapter_model",)
_SUFFIXES = (".safetensors", ".bin")
# Up to this size a file is read whole and compared with its checksums
_SMALL = 64 << 20


class DamagedFile(ValueError):
    """A file of a checkpoint that is cut off or damaged; says which, and how."""


def check_model_files(model_name_or_path: str, base_model: str | None = None) -> None:
    """
    Check the files of a checkpoint, a whole model or an adapter and its model: that they are there, that those in JSON
    are, that weights are not cut off, and that an adapter's model is the one that it was trained on, where that was
    recorded. Nothing is checked of a model id on the Hub. `base_model` is the model of an adapter, where it is not the
    one that its configuration names.

    Raises:
        UserError: a file is missing or damaged; says which.
    """
    folder = local_folder(model_name_or_path)
    if folder is None:
        return
    adapter = adapter_config(model_name_or_path)
    try:
        if adapter is None:
            _check_model_type(folder / "config.json")
        for file in weight_files(folder, _WEIGHTS if adapter is None else _ADAPTER_WEIGHTS):
            check_file(file)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing, so {folder} cannot be loaded") from error
    except DamagedFile as error:
        raise UserError(f"{folder}: {error}") from error
    if adapter is not None:
        with naming(f"{folder}: its base model"):
            base_model = base_model or adapter["base_model_name_or_path"]
            check_model_files(base_model)
        recorded, base = (read_handover(folder) or {}).get(BASE_WEIGHTS), local_folder(base_model)
        if recorded and base is not None and weights_digest(base) != recorded:
            raise UserError(
                f"{folder} is an adapter that was trained on other weights than {base} has now: an adapter is of use "
                "on its own base model only; restore that, or train the adapter again"
            )


def weights_digest(folder: Path) -> str:
    """A digest of the weights of the whole model in a folder, whatever else lies beside them."""
    digests = (f"{file.name} {fingerprint(file)}" for file in weight_files(folder, _WEIGHTS))
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def weight_files(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The files of the weights, by the first of `names` that a folder has. Raises `FileNotFoundError` for none."""
    for name in names:
        for suffix in _SUFFIXES:
            whole, index = folder / f"{name}{suffix}", folder / f"{name}{suffix}.index.json"
            if whole.is_file():
                return [whole]
            if index.is_file():
                shards = read_object(index).get("weight_map")
                if not isinstance(shards, dict) or not shards:
                    raise DamagedFile(f"{index.name} has no weight_map")
                return [folder / str(shard) for shard in sorted(set(map(str, shards.values())))]
    raise FileNotFoundError(2, "no weights", str(folder / f"{names[0]}.safetensors"))


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises [`DamagedFile`] where it has none, `FileNotFoundError` where it is missing."""
    if not path.exists():
        raise FileNotFoundError(2, "missing", str(path))
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{path.name} is damaged ({error})") from error
    if not isinstance(content, dict):
        raise DamagedFile(f"{path.name} is damaged (expected an object, found {type(content).__name__})")
    return content


def check_file(path: Path) -> None:
    """Raises `FileNotFoundError` or [`DamagedFile`]. Weights are not loaded: header and size are looked at."""
    size = path.stat().st_size
    if size == 0:
        raise DamagedFile(f"{path.name} is empty")
    if path.suffix == ".safetensors":
        _check_safetensors(path, size)
    elif path.suffix in (".pt", ".pth", ".bin"):
        _check_torch_file(path, size)


def _check_model_type(path: Path) -> None:
    from transformers import CONFIG_MAPPING

    config = read_object(path)
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise DamagedFile(f"{path.name} has no model_type")
    if kind not in CONFIG_MAPPING and "auto_map" not in config:
        raise DamagedFile(f"{path.name} has the model_type {kind!r}, which this version of transformers does not know")


def _check_safetensors(path: Path, size: int) -> None:
    with path.open("rb") as file:
        try:
            (header_size,) = struct.unpack("<Q", file.read(8))
            if header_size > size:
                raise ValueError("impossible header")
            tensors = json.loads(file.read(header_size))
            ends = [tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"]
        except (ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
            raise DamagedFile(f"{path.name} is damaged (no safetensors header)") from error
    expected = 8 + header_size + max(ends, default=0)
    if size != expected:
        raise DamagedFile(f"{path.name} has {size} bytes instead of {expected}")


def _check_torch_file(path: Path, size: int) -> None:
    # `torch.save` writes a zip archive, whose directory is at its end
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip() if size <= _SMALL else None
    except zipfile.BadZipFile as error:
        raise DamagedFile(f"{path.name} is cut off or damaged") from error
    if bad is not None:
        raise DamagedFile(f"{path.name} is damaged (checksum of {bad})")
