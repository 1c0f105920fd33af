"""Loading checkpoints for inference: full models and PEFT adapters, with the tokenizer saved beside them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError


if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "spiece.model")


def local_folder(model_name_or_path: str) -> Path | None:
    """The checkpoint's folder; `None` for a model id on the Hub. Raises `UserError` for a path without a folder."""
    path = Path(model_name_or_path).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"model_name_or_path: {path} is a file; give the folder that holds the checkpoint")
    looks_like_id = model_name_or_path.count("/") <= 1 and not model_name_or_path.startswith((".", "/", "~"))
    if not looks_like_id:
        raise UserError(f"model_name_or_path: there is no folder {path}; run the stage that makes it first")
    return None


def adapter_config(model_name_or_path: str) -> dict[str, Any] | None:
    """`adapter_config.json` of a PEFT adapter's folder; `None` where the folder is not an adapter."""
    folder = local_folder(model_name_or_path)
    if folder is None or not (folder / "adapter_config.json").exists():
        return None
    path = folder / "adapter_config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    if not content.get("base_model_name_or_path"):
        raise UserError(f"{path}: base_model_name_or_path is missing")
    return content


def load_tokenizer(
    model_name_or_path: str, trust_remote_code: bool = False, revision: str = "main"
) -> "PreTrainedTokenizerBase":
    """The tokenizer saved with a checkpoint. Raises `UserError` where there is none, or it cannot be loaded."""
    from transformers import AutoTokenizer

    folder = local_folder(model_name_or_path)
    if folder is not None and not any((folder / name).exists() for name in _TOKENIZER_FILES):
        raise UserError(
            f"{folder}: no tokenizer beside the model (looked for {', '.join(_TOKENIZER_FILES[:2])}, ...); save the "
            "one it was trained with there: tokenizer.save_pretrained(folder)"
        )
    try:
        return AutoTokenizer.from_pretrained(
            model_name_or_path, trust_remote_code=trust_remote_code, revision=revision
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{model_name_or_path}: the tokenizer cannot be loaded ({first_line(error)})") from error


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

    loader: Any = AutoModelForCausalLM
    if adapter_config(model_name_or_path) is not None:
        from peft import AutoPeftModelForCausalLM

        loader = AutoPeftModelForCausalLM
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = loader.from_pretrained(
            model_name_or_path, dtype=dtype, trust_remote_code=trust_remote_code, **model_kwargs
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{model_name_or_path}: the model cannot be loaded ({first_line(error)})") from error
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


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
