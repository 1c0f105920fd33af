"""
Stage 2: GRPO with verifier rewards, from the checkpoint of stage 1, with TRL's trainer as it is; with
`dynamic_sampling` on informative groups only.

```shell
accelerate launch --config_file accelerate_configs/single_gpu.yaml -m glow_trl.grpo --config recipes/gsm8k/grpo.yaml
```
"""

import functools
import inspect
import json
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset, Features, Value
from trl import ModelConfig, get_quantization_config

from .analysis.readiness.chosen import chosen_start, too_few_informative
from .data.config import PromptedRowsConfig
from .data.handover import check_handover, read_handover, write_handover
from .data.table import MESSAGES, Rows
from .errors import MissingExtraError, UserError
from .generation.loading import adapter_config, loading
from .stages.command import run_command
from .stages.config import nearest, setting
from .stages.console import say_results
from .stages.dotted import is_dotted, load_dotted, own_code
from .stages.fingerprint import fingerprint
from .stages.processes import leave
from .stages.record import StageRun
from .stages.secrets import is_secret
from .training import loop
from .training.arguments import GRPOArguments
from .training.guard import CollapseGuard, GuardConfig
from .training.merge import merge_adapter
from .training.resume import parse_training_stage
from .training.vllm_server import VLLMServer, server_command
from .verifiers import GoldFailure, GoldReport, check_gold, load_kind
from .verifiers.gold import surely_accepted, usable_positions


logger = logging.getLogger(__name__)

MERGED_DIR = "merged_model"
SERVER_LOG = "vllm_server.log"

_REWARDS = "glow_trl.rewards."
# Columns of a question that rewards may ask for
_QUESTION_COLUMNS = ("answer", "kind", "choices", "tolerance", "domain", "source", "sample_id")
# Where it stands what is wrong with a gold answer
_FAILURE = "gold_failure"


@dataclass
class GRPOStageConfig(PromptedRowsConfig):
    r"""
    Questions and rewards of the GRPO stage: [`~glow_trl.data.config.PromptedRowsConfig`], and

    Parameters:
        reward_funcs (`list[str]`, *optional*, defaults to `["accuracy_reward"]`):
            Reward functions: names in [`glow_trl.rewards`] or `trl.rewards`, or `my_module.my_reward` for your own.
        kinds (`list[str]`, *optional*):
            Verifiers of your own that rows name as their `kind`: `my_module:my_function`.
        restated (`str`, *optional*, defaults to `"reject"`):
            What an answer earns in `accuracy_reward` that only restates the question: `"reject"`, nothing;
            `"strict"`, so for one that is lightly edited; `"accept"`, it counts.
        on_bad_gold (`str`, *optional*, defaults to `"error"`):
            What to do about questions whose gold answer its own verifier does not accept: `"error"` stops before any
            training, `"drop"` leaves them out.
        unjudged (`str`, *optional*, defaults to `"none"`):
            What a completion earns in `accuracy_reward` that could not be judged, as the comparison timed out or
            broke: `"none"`, no reward, so that it teaches nothing; `"zero"`, 0.0 as a wrong one.
        readiness (`str`, *optional*):
            What `glow-trl ready` wrote about the checkpoint to start from, a folder. A run sets it for arms whose
            starts it measures.
        min_informative_share (`float`, *optional*, defaults to `0.1`):
            With `readiness`: the least share of groups that should be expected to have right and wrong samples. It is
            missed where even the upper end of the 95 % interval is below it. `None` for no check.
        on_few_informative (`str`, *optional*, defaults to `"warn"`):
            What to do where it is missed: `"warn"`, or `"error"` to stop before any training. Both say what would
            help.
        merge_adapter (`bool`, *optional*, defaults to `False`):
            Where stage 1 left an adapter: merge it into its model first, in the folder `merged_model` of the output
            folder, and train the whole model, or with `use_peft` a new adapter on it. By default the adapter itself
            is trained further.
        start_vllm_server (`bool`, *optional*, defaults to `False`):
            With `use_vllm` and `vllm_mode: server`, start the server with the run and stop it after. By default it
            must be running.
        vllm_server_devices (`str`, *optional*):
            GPUs of a server that the run starts, as in `CUDA_VISIBLE_DEVICES`. The training must not use them.
        vllm_server_args (`list[str]`, *optional*):
            Further arguments of `vllm serve`.
    """

    reward_funcs: list[str] = setting(
        ["accuracy_reward"], "Names in glow_trl.rewards or trl.rewards, or dotted paths."
    )
    kinds: list[str] = setting([], "Verifiers of your own that rows name: my_module:my_function.")
    restated: str = setting(
        "reject",
        "Answers that only restate the question: accept, reject or strict.",
        choices=["accept", "reject", "strict"],
    )
    on_bad_gold: str = setting(
        "error", "Questions whose gold answer is unusable: error or drop.", choices=["error", "drop"]
    )
    unjudged: str = setting(
        "none", "Reward of completions that could not be judged: none or zero.", choices=["none", "zero"]
    )
    readiness: str | None = setting(
        None, "Folder of `glow-trl ready` that measured the checkpoint to start from.", changeable=True
    )
    min_informative_share: float | None = setting(
        0.1, "With readiness: least share of groups that should be informative; null for no check.", changeable=True
    )
    on_few_informative: str = setting(
        "warn", "Where fewer are expected: warn or error.", choices=["warn", "error"], changeable=True
    )
    merge_adapter: bool = setting(
        False, "Merge the adapter that stage 1 left into its model, instead of training it further."
    )
    start_vllm_server: bool = setting(
        False, "With vllm_mode server: start the server with the run, stop it after.", changeable=True
    )
    vllm_server_devices: str | None = setting(
        None, "GPUs of a server that the run starts, as in CUDA_VISIBLE_DEVICES.", changeable=True
    )
    vllm_server_args: list[str] = setting(
        [], "Further arguments of `vllm serve` for a server that the run starts.", changeable=True
    )

    def __post_init__(self):
        super().__post_init__()
        if self.min_informative_share is not None and not 0 <= self.min_informative_share <= 1:
            raise UserError(f"min_informative_share is {self.min_informative_share}: it must be from 0 to 1, or null")
        for kind in self.kinds:
            load_kind(kind)

    def questions(self) -> Dataset:
        """
        The questions with a usable gold answer, as a conversational prompt-only data set: `prompt` (a list of
        messages), and what rewards may ask for: `answer`, `kind`, ... There is one for each problem: a file of
        trajectories has several answers to one question.

        Raises:
            UserError: a gold answer is not accepted by its own verifier and `on_bad_gold` is `"error"`, or none is.
        """
        rows = self.load(["problem", "answer"]).distinct_questions()
        # What the verifiers accept may change without a new version
        verifiers = sorted(Path(inspect.getfile(check_gold)).parent.rglob("*.py"))
        code = [fingerprint(path) for path in [*map(str, verifiers), *own_code(self.kinds, "kinds")]]
        features = {"prompt": MESSAGES, _FAILURE: Value("string"), **rows.features(_QUESTION_COLUMNS)}
        prompting = {"system_prompt": self.system_prompt, "prompt_template": self.prompt_template}
        dataset = rows.map(_to_questions, Features(features), code=code, **prompting)
        failures = [
            GoldFailure(index, **json.loads(dataset[index][_FAILURE]))
            for index in np.flatnonzero(dataset.data[_FAILURE].is_valid().to_numpy()).tolist()
        ]
        kept = usable_positions(GoldReport(len(rows), tuple(failures)), self.on_bad_gold)
        dataset = dataset.remove_columns(_FAILURE)
        return dataset if len(kept) == len(rows) else dataset.select(kept)


def resolve_reward(name: str) -> Callable:
    """
    A reward function by its name in [`glow_trl.rewards`] or in `trl.rewards`, or by its dotted path. Raises
    `UserError` if there is none of that name; the nearest is named.
    """
    if is_dotted(name):
        function = load_dotted(name, "reward_funcs")
        if not callable(function):
            raise UserError(f"reward_funcs: {name}: expected a function, found {type(function).__name__}")
        return function
    import trl.rewards

    from . import rewards

    for module in (rewards, trl.rewards):
        if callable(function := getattr(module, name, None)):
            return function
    known = {key for module in (rewards, trl.rewards) for key in module.__all__ if key.endswith("_reward")}
    raise UserError(f"reward_funcs: there is no {name} in glow_trl.rewards or trl.rewards{nearest(name, known)}")


def with_options(reward: Callable, **options: Any) -> Callable:
    """A reward of [`glow_trl.rewards`] with those of `options` that it takes; it keeps its name, and pickles."""
    if not getattr(reward, "__module__", "").startswith(_REWARDS):
        return reward
    taken = options.keys() & inspect.signature(reward).parameters
    if not taken:
        return reward
    return functools.update_wrapper(functools.partial(reward, **{name: options[name] for name in taken}), reward)


def _to_questions(
    rows: Rows, code: list[str | None], system_prompt: str | None, prompt_template: str | None
) -> dict[str, Any]:
    """
    The prompt of each row, and what is wrong with its gold answer, if anything. `code` is what the verifiers are now.
    """
    asked = range(len(rows)) if rows.columns is None else np.flatnonzero(~surely_accepted(rows.columns)).tolist()
    failures: list[str | None] = [None] * len(rows)
    for failure in check_gold(rows[index] for index in asked).failures:
        entry = asdict(failure)
        index = asked[entry.pop("index")]
        failures[index] = json.dumps(entry)
    return {"prompt": rows.prompts(system_prompt, prompt_template), _FAILURE: failures}


def check_start(config: GRPOStageConfig, checkpoint: str, group_size: int) -> dict[str, Any] | None:
    """
    What `ready` has measured of the checkpoint to start from, see [`chosen_start`]; `None` if nothing is said of it.
    Warns, or with `on_few_informative: error` raises a `UserError`, where too few groups would be informative.
    """
    if config.readiness is None:
        return None
    facts = chosen_start(config.readiness, checkpoint, group_size)
    problem = too_few_informative(facts, config.min_informative_share)
    if problem and config.on_few_informative == "error":
        raise UserError(f"{problem}. With on_few_informative: warn it is trained all the same")
    if problem and PartialState().is_main_process:
        logger.warning(problem)
    return facts


def merge_first(model_args: ModelConfig, output_dir: Path, trust_remote_code: bool) -> None:
    """
    Merge the adapter that `model_args` names, if that is not done yet, and let `model_args` name the merged model.
    """
    merged = output_dir / MERGED_DIR
    with PartialState().main_process_first():
        # It appears when it is whole
        if not merged.exists():
            merge_adapter(model_args.model_name_or_path, merged, trust_remote_code=trust_remote_code)
    model_args.model_name_or_path = str(merged)
    model_args.model_revision = "main"


def vllm_server(config: GRPOStageConfig, args: GRPOArguments, model_args: ModelConfig, output_dir: Path) -> VLLMServer:
    """
    The server that the configuration asks for, not started yet. Raises `UserError` where it does not go with one here.
    """
    if not args.use_vllm or args.vllm_mode != "server":
        raise UserError("start_vllm_server needs use_vllm: true and vllm_mode: server")
    if args.vllm_server_base_url is not None:
        raise UserError("start_vllm_server starts a server on this machine: set vllm_server_port in place of base_url")
    for option in config.vllm_server_args:
        if option.startswith("--") and is_secret(option.partition("=")[0]):
            raise UserError(
                f"vllm_server_args: others can read command lines: put what {option.partition('=')[0]} needs in an "
                "environment variable (VLLM_API_KEY, HF_TOKEN)"
            )
    model = model_args.model_name_or_path
    adapter = adapter_config(model)
    command = server_command(
        model if adapter is None else adapter["base_model_name_or_path"],
        args.vllm_server_host,
        args.vllm_server_port,
        # By itself vLLM would serve a float32 model in 16 bits
        dtype=model_args.dtype,
        max_model_len=args.vllm_max_model_length,
        nccl=torch.cuda.is_available(),
        arguments=config.vllm_server_args,
    )
    return VLLMServer(command, args.vllm_server_port, output_dir / SERVER_LOG, config.vllm_server_devices)


def load_model(model_args: ModelConfig) -> Any:
    """The name of a whole model, for the trainer to load; a PEFT adapter, loaded for its training to go on."""
    if adapter_config(model_args.model_name_or_path) is None:
        return model_args.model_name_or_path
    if model_args.use_peft:
        raise UserError(
            f"{model_args.model_name_or_path} is an adapter, and use_peft would put another on top: leave "
            "use_peft out to train it further, or set merge_adapter to train a new one on the merged model"
        )
    from peft import AutoPeftModelForCausalLM

    with loading(f"{model_args.model_name_or_path}: the adapter cannot be loaded"):
        return AutoPeftModelForCausalLM.from_pretrained(
            model_args.model_name_or_path, is_trainable=True, **loop.model_init_kwargs(model_args)
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl grpo` with the arguments `argv`, by default those of the command line."""
    settings = parse_training_stage("grpo", sys.argv[1:] if argv is None else argv)
    config, guard_config, args, model_args = settings.configs
    if args.use_vllm and find_spec("vllm") is None:
        raise MissingExtraError("vllm", "vllm", "use_vllm")
    code = own_code([*config.reward_funcs, *config.kinds], "reward_funcs, kinds")
    inputs = [*config.files, loop.model_folder(model_args), *code]
    with loop.training_run(settings, args, inputs) as run:
        if not run.is_complete:
            _train(config, guard_config, args, model_args, run)
    if run.main_process:
        say_results(run.output_dir)


def _train(
    config: GRPOStageConfig, guard_config: GuardConfig, args: GRPOArguments, model_args: ModelConfig, run: StageRun
) -> None:
    from .training.dynamic_sampling import DynamicSamplingGRPOTrainer
    from .training.grpo_trainer import ResumableGRPOTrainer

    trainer_class = DynamicSamplingGRPOTrainer if args.dynamic_sampling else ResumableGRPOTrainer
    options = {"unjudged": config.unjudged, "restated": config.restated}
    reward_funcs = [with_options(resolve_reward(name), **options) for name in config.reward_funcs]
    loop.check_files(model_args, args)
    start = check_start(config, model_args.model_name_or_path, args.num_generations)
    run.record |= {"start": start} if start else {}
    tokenizer = loop.stage_tokenizer(model_args, args.trust_remote_code)
    unchecked = check_handover(model_args.model_name_or_path, tokenizer, config.system_prompt, config.prompt_template)
    with PartialState().local_main_process_first():
        dataset = config.questions()
    loop.quiet_libraries(len(dataset))
    if config.merge_adapter:
        merge_first(model_args, run.output_dir, args.trust_remote_code)
    model = load_model(model_args)
    if isinstance(model, str):
        args.model_init_kwargs = loop.model_init_kwargs(model_args)
    guard = CollapseGuard(guard_config)
    with ExitStack() as stack:
        if config.start_vllm_server:
            server = vllm_server(config, args, model_args, run.output_dir)
            if run.main_process:
                stack.enter_context(server)
        with loading(f"{model_args.model_name_or_path} cannot be trained so"):
            trainer = trainer_class(
                model=model,
                args=args,
                reward_funcs=reward_funcs,
                train_dataset=dataset,
                processing_class=tokenizer,
                peft_config=loop.adapter_to_train(model_args),
                quantization_config=get_quantization_config(model_args),
                callbacks=[guard],
            )
        for warning in unchecked:
            logger.warning(warning)
        if run.main_process:
            # Before the training, as it is for the checkpoints within the folder too
            share = (read_handover(model_args.model_name_or_path) or {}).get("end_token_share", 1.0)
            write_handover(
                run.output_dir,
                tokenizer,
                config.system_prompt,
                config.prompt_template,
                share,
                loop.base_weights(trainer),
            )
        loop.train(trainer, run)
    run.complete(questions=len(dataset), **({"warnings": guard.warnings} if guard.warnings else {}))
    loop.leave_process_group()


if __name__ == "__main__":
    leave(run_command("grpo"))
