"""
Merging an adapter into its model.

```shell
glow-trl merge outputs/NAME/glow/sft --output outputs/NAME/glow/merged
```
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.handover import BASE_WEIGHTS, HANDOVER_FILE, read_handover
from ..errors import UserError
from ..generation.loading import adapter_config, check_exists, load_tokenizer, loading, without_file_bars
from ..generation.model_files import check_model_files
from ..stages.command import run_command
from ..stages.config import naming, parse_command, setting
from ..stages.console import say_results
from ..stages.files import atomic_path, write_json
from ..stages.frame import writing
from ..stages.record import StageRun


def merge_adapter(
    adapter: str | os.PathLike,
    output_dir: str | os.PathLike,
    base_model: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> None:
    """
    Merge a PEFT adapter into its base model, and save the whole model with the adapter's tokenizer, chat template and
    hand-over record; for the arguments see [`MergeConfig`]. The product of the adapter's matrices is added in float32
    and rounded once, to the data type of the base model: in bfloat16 the product would lose most of its digits before
    it is added. The output folder appears under its name only when it is whole.

    Raises:
        UserError: `adapter` is not one, its base model cannot be loaded, or the output folder is not empty.
    """
    adapter, output_dir = Path(adapter).expanduser(), Path(output_dir).expanduser()
    if not adapter.is_dir():
        raise UserError(f"{adapter}: there is no such folder; give the folder of an adapter")
    name = str(adapter) if adapter.is_absolute() else f"./{adapter}"
    config = adapter_config(name)
    if config is None:
        raise UserError(
            f"{adapter} has no adapter_config.json, so it is not an adapter; a whole model needs no merging"
        )
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise UserError(f"--output {output_dir} exists and is not empty; choose another folder or delete it")
    given, base_model = base_model, base_model or config["base_model_name_or_path"]
    what = f"{adapter} cannot be merged into {base_model} (--base_model names the model if it has moved)"
    with naming(what):
        check_model_files(name, given)
    tokenizer = load_tokenizer(str(adapter), trust_remote_code=trust_remote_code)

    import torch
    from peft import PeftConfig, PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    revision = revision or config.get("revision") or "main"
    without_file_bars()
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    with naming(what), loading(what):
        check_exists(base_model, revision)
        dtype = AutoConfig.from_pretrained(base_model, **options).dtype or torch.float32
        model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32, **options)
        peft_config = PeftConfig.from_pretrained(adapter)
        peft_config.inference_mode = True
        model = PeftModel.from_pretrained(model, adapter, config=peft_config)
    model = model.merge_and_unload(safe_merge=True).to(dtype)
    model.config.dtype = dtype

    with atomic_path(output_dir) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if (adapter / "generation_config.json").is_file():
            shutil.copy2(adapter / "generation_config.json", partial)
        if record := read_handover(adapter):
            record.pop(BASE_WEIGHTS, None)
            write_json(partial / HANDOVER_FILE, record)


@dataclass
class MergeConfig:
    r"""
    Which adapter to merge into its model.

    Parameters:
        adapter (`str`):
            Folder of the adapter; also the first argument of the command.
        output (`str`):
            Folder of the merged model, which must not exist yet.
        base_model (`str`, *optional*):
            The base model, if it is not where the adapter's configuration says.
        revision (`str`, *optional*):
            Revision of the base model on the Hub.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether code that comes with the model may run.
    """

    adapter: str = setting("", "Folder of the adapter.", positional=True, required=True)
    output: str = setting("", "Folder of the merged model, which must not exist yet.", required=True)
    base_model: str | None = setting(None, "The base model, if it is not where the adapter's configuration says.")
    revision: str | None = setting(None, "Revision of the base model on the Hub.")
    trust_remote_code: bool = setting(False, "Whether code that comes with the model may run.")

    def __post_init__(self):
        if not self.adapter or not self.output:
            raise UserError("name the adapter and where its merged model goes: glow-trl merge ADAPTER --output DIR")


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl merge` with the arguments `argv`, by default those of the command line."""
    from transformers.utils.logging import disable_progress_bar

    settings = parse_command("merge", sys.argv[1:] if argv is None else argv)
    config: MergeConfig = settings.config
    disable_progress_bar()
    output = Path(config.output).expanduser()
    with writing(output):
        run = StageRun("merge", output, settings, [config.adapter, config.base_model])
        if not run.is_complete:
            merge_adapter(config.adapter, output, config.base_model, config.revision, config.trust_remote_code)
            run.complete()
    say_results(output)


if __name__ == "__main__":
    sys.exit(run_command("merge"))
