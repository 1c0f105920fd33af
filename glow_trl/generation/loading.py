"""Loading checkpoints for inference: full models and PEFT adapters, with the tokenizer saved beside them."""

import errno
import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..stages.files import read_text
from ..stages.yaml_file import nearest, one_line


if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

_SECONDS_FOR_THE_HUB = 10
_CONFIG_FILES = ("config.json", "adapter_config.json")
_LIBRARIES = frozenset(
    "transformers tokenizers safetensors peft trl torch accelerate huggingface_hub datasets jinja2".split()
)
# Some errors list all the tensors of a model
_LONGEST = 400
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "spiece.model")


def local_folder(model_name_or_path: str) -> Path | None:
    """The checkpoint's folder; `None` for a model id on the Hub. Raises `UserError` for a path without a folder."""
    if not model_name_or_path:
        raise UserError("model_name_or_path: the name of a model is empty")
    path = Path(model_name_or_path).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"model_name_or_path: {path} is a file; give the folder that holds the checkpoint")
    looks_like_id = model_name_or_path.count("/") <= 1 and not model_name_or_path.startswith((".", "/", "~"))
    if not looks_like_id:
        close = _nearest_folder(path) or "; run the stage that makes it first"
        raise UserError(f"model_name_or_path: there is no folder {path}{close}")
    return None


def check_exists(model_name_or_path: str, revision: str = "main") -> None:
    """
    Raise a `UserError` if there is neither a folder of that name nor a model on the Hub, of which one question is
    asked: `from_pretrained` repeats its own for a minute.
    """
    if local_folder(model_name_or_path) is not None:
        return
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        files = (try_to_load_from_cache(model_name_or_path, name, revision=revision) for name in _CONFIG_FILES)
        if not any(isinstance(file, str) for file in files):
            HfApi().model_info(model_name_or_path, revision=revision, timeout=_SECONDS_FOR_THE_HUB)
        return
    except RevisionNotFoundError:
        problem = f"the model {model_name_or_path} has no revision {revision!r} on the Hub"
    except GatedRepoError:
        problem = f"{model_name_or_path} is gated: ask for access on its page on the Hub, and log in (hf auth login)"
    except RepositoryNotFoundError:
        problem = f"there is no folder {model_name_or_path} here, and no such model on the Hub that we may see"
    except HFValidationError:
        problem = f"there is no folder {model_name_or_path}, and no model on the Hub can have that name"
    # Of httpx, or of httpx2 in newer releases of huggingface_hub: their errors share no other class
    except Exception as error:
        problem = f"there is no folder {model_name_or_path} here, and the Hub cannot be asked ({one_line(error)})"
    raise UserError(f"model_name_or_path: {problem}{_nearest_folder(Path(model_name_or_path))}")


def _nearest_folder(path: Path) -> str:
    """`; did you mean ...?` with the folder that is most like one that does not exist, or nothing."""
    while not path.parent.is_dir():
        path = path.parent
    names = [item.name for item in path.parent.iterdir() if item.is_dir()]
    return nearest(path.name, names, "" if path.parent == Path() else f"{path.parent}/".replace("//", "/"))


def adapter_config(model_name_or_path: str) -> dict[str, Any] | None:
    """`adapter_config.json` of a PEFT adapter's folder; `None` where the folder is not an adapter."""
    folder = local_folder(model_name_or_path)
    if folder is None or not (folder / "adapter_config.json").exists():
        return None
    path = folder / "adapter_config.json"
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping, found {type(content).__name__}")
    base = content.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UserError(f"{path}: base_model_name_or_path is missing, or not a text")
    return content


@contextmanager
def loading(what: str) -> Iterator[None]:
    """
    Turn the errors of a block in which libraries load a model's files, or look at settings, into a `UserError` about
    `what`. There is no one kind of them: a file that is cut off or of another form raises whatever the line that trips
    over it raises, `tokenizers` a bare `Exception`. What comes from another package, a reward of the user's own for
    example, stays as it is, as do errors of the machine: a full disk, too little memory.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        of_machine = type(error).__name__ == "OutOfMemoryError" or (
            isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.EISDIR, errno.ENOTDIR)
        )
        if of_machine or not _comes_from_libraries(error):
            raise
        text = f"no {error}" if isinstance(error, KeyError) else one_line(error)
        raise UserError(f"{what}: {text if len(text) <= _LONGEST else text[:_LONGEST] + ' ...'}") from error


def _comes_from_libraries(error: Exception) -> bool:
    """Whether all that this package called on the way to an error is the libraries'."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    rooms = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame in frames]
    own = [index for index, room in enumerate(rooms) if room == __name__.partition(".")[0]]
    called = set(rooms[own[-1] + 1 :] if own else rooms)
    return bool(called & _LIBRARIES) and called <= _LIBRARIES | sys.stdlib_module_names


def load_tokenizer(
    model_name_or_path: str, trust_remote_code: bool = False, revision: str = "main"
) -> "PreTrainedTokenizerBase":
    """The tokenizer saved with a checkpoint. Raises `UserError` where there is none, or it cannot be loaded."""
    check_exists(model_name_or_path, revision)
    from transformers import AutoTokenizer

    folder = local_folder(model_name_or_path)
    if folder is not None and not any((folder / name).exists() for name in _TOKENIZER_FILES):
        raise UserError(
            f"{folder}: no tokenizer beside the model (looked for {', '.join(_TOKENIZER_FILES[:2])}, ...); save the "
            "one it was trained with there: tokenizer.save_pretrained(folder)"
        )
    with loading(f"{model_name_or_path}: the tokenizer cannot be loaded"):
        return AutoTokenizer.from_pretrained(
            model_name_or_path, trust_remote_code=trust_remote_code, revision=revision
        )


def without_file_bars() -> None:
    """Turn off the bars of `transformers` for files that it reads and writes here; they tear the lines of a log."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def load_model(
    model_name_or_path: str,
    dtype: str = "auto",
    device: str | None = None,
    trust_remote_code: bool = False,
    **model_kwargs: Any,
) -> "PreTrainedModel":
    """
    A causal language model in evaluation mode; an adapter is loaded on its base model and left unmerged.

    `dtype` is `"auto"` (as saved), `"float32"`, `"bfloat16"` or `"float16"`; `device` is by default the first GPU if
    there is one; `model_kwargs` go to `from_pretrained`. Raises `UserError` for a checkpoint that cannot be loaded, or
    whose weights are not finite numbers.
    """
    import torch
    from transformers import AutoModelForCausalLM

    without_file_bars()

    loader: Any = AutoModelForCausalLM
    if adapter_config(model_name_or_path) is not None:
        from peft import AutoPeftModelForCausalLM

        loader = AutoPeftModelForCausalLM
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with loading(f"{model_name_or_path}: the model cannot be loaded"):
        model = loader.from_pretrained(
            model_name_or_path, dtype=dtype, trust_remote_code=trust_remote_code, **model_kwargs
        )
    model = model.to(device).eval()
    # One number that is not finite makes the sum so
    sums = (weight.detach().sum(dtype=torch.float32) for weight in model.parameters() if weight.is_floating_point())
    if not all(total.isfinite() for total in sums):
        raise UserError(
            f"{model_name_or_path}: weights are not finite numbers, as a training that collapsed leaves them; take "
            "another checkpoint"
        )
    return model


def end_token_ids(tokenizer: "PreTrainedTokenizerBase", generation_config: "GenerationConfig | None") -> list[int]:
    """Tokens that end a completion: the tokenizer's and those of the checkpoint's generation config."""
    configured = None if generation_config is None else generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in [tokenizer.eos_token_id, *configured] if token is not None})
