"""Generation with vLLM, in this process."""

import gc
import itertools
import os
from collections.abc import Container, Iterator, Sequence
from typing import Any

from ..errors import MissingExtraError, UserError
from ..stages.config import one_line
from .base import (
    Generation,
    OnRefused,
    Prompt,
    SampleEngine,
    SamplingConfig,
    cut_at_stop,
    refuse,
    sample_seed,
    tokens_within,
)
from .loading import adapter_config, end_token_ids, load_tokenizer


try:
    import vllm
    from vllm.lora.request import LoRARequest
except ImportError as error:
    raise MissingExtraError("vllm", "vllm", "the generation engine 'vllm'") from error

_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


# More than vLLM runs at once, so that it never waits for us, and few enough to hold in memory
_QUEUED = 2048
_CPU_BATCHED_TOKENS = 32768


class VLLMEngine(SampleEngine):
    """Samples with vLLM, which batches what is queued as memory allows.

    Every sample is a request with a seed of its own, so that a run which is started again and asks for what is missing
    continues as it would have. That holds exactly where the logits of a sequence do not depend on what else is in the
    batch: on a CPU they were found not to; on a GPU vLLM guarantees it with `VLLM_BATCH_INVARIANT=1` in the
    environment (for the GPUs and models that its documentation lists) and otherwise not, so that a restarted run
    draws from the same distribution, but not always the same tokens.

    On a CPU the engine runs in this process with 1 GiB of key-value cache, unless `VLLM_ENABLE_V1_MULTIPROCESSING` and
    `VLLM_CPU_KVCACHE_SPACE` (GiB) say otherwise.

    Args:
        model_name_or_path (`str`):
            A checkpoint's folder (full model or LoRA adapter) or a model id.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Precision of the weights; `"auto"` takes that of the checkpoint, but bfloat16 for one in float32.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether code that comes with the checkpoint may run.
        **options:
            Passed to `vllm.LLM`: `tensor_parallel_size`, `gpu_memory_utilization`, `max_model_len`, ...

    Raises:
        MissingExtraError: vLLM is not installed.
    """

    incidental_options = frozenset(
        {"gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens", "swap_space", "cpu_offload_gb"}
    )

    def __init__(self, model_name_or_path: str, dtype: str = "auto", trust_remote_code: bool = False, **options: Any):
        from transformers import GenerationConfig

        self._tokenizer = load_tokenizer(model_name_or_path, trust_remote_code)
        adapter = adapter_config(model_name_or_path)
        base = model_name_or_path if adapter is None else adapter["base_model_name_or_path"]
        self._adapter = None if adapter is None else LoRARequest("adapter", 1, model_name_or_path)
        if adapter is not None:
            options = {"enable_lora": True, "max_lora_rank": _lora_rank(adapter)} | options
        try:
            generation_config = GenerationConfig.from_pretrained(base)
        except OSError:  # a checkpoint need not have one
            generation_config = None
        self._end_ids = end_token_ids(self._tokenizer, generation_config)
        if "max_model_len" in options and options["max_model_len"] is None:
            del options["max_model_len"]
        try:
            self._llm = vllm.LLM(
                model=base,
                tokenizer=model_name_or_path,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                **(_defaults(base, options, trust_remote_code) | options),
            )
        except (TypeError, ValueError) as error:
            # What vLLM says about a model or an option; a failure in a worker process comes as a RuntimeError
            raise UserError(f"{base}: vLLM refuses to load it ({one_line(error)})") from error
        self._max_length = self._llm.llm_engine.model_config.max_model_len

    def stream_samples(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingConfig,
        done: Container[tuple[int, int]] = (),
        on_refused: OnRefused | None = None,
    ) -> Iterator[tuple[int, int, Generation]]:
        engine = self._llm.llm_engine
        mode = engine.model_config.logprobs_mode
        if sampling.log_probs and mode != "raw_logprobs":
            raise UserError(
                f"engine_options: logprobs_mode is {mode!r}; log_probs are those of the model itself: leave it out"
            )
        requests = self._requests(prompts, sampling, done, on_refused)
        pending: dict[str, tuple[int, int]] = {}
        try:
            while True:
                for name, pair, request, params in itertools.islice(requests, max(0, _QUEUED - len(pending))):
                    engine.add_request(name, request, params, lora_request=self._adapter)
                    pending[name] = pair
                if not pending:
                    return
                for output in engine.step():
                    if output.finished:
                        index, sample = pending.pop(output.request_id)
                        yield index, sample, self._unpack(output.outputs[0], sampling.stop)
        finally:
            # A caller that stops early must not find these requests among its next ones
            engine.abort_request(list(pending))

    def _requests(self, prompts, sampling, done, on_refused) -> Iterator[tuple]:
        """Name, indices, prompt and parameters of each sample that is missing."""
        count = sampling.num_samples
        for index in range(len(prompts)):
            missing = [sample for sample in range(count) if (index, sample) not in done]
            if not missing:
                continue
            prompt = prompts[index]
            ids = self._tokenizer.encode(prompt, add_special_tokens=False) if isinstance(prompt, str) else list(prompt)
            if not 0 < len(ids) < self._max_length:
                problem = f"its {len(ids)} tokens leave no room in max_model_len={self._max_length}"
                refuse(index, problem if ids else "it is empty", on_refused)
                continue
            for sample in missing:
                params = vllm.SamplingParams(
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    top_k=sampling.top_k,
                    min_p=sampling.min_p,
                    max_tokens=min(sampling.max_new_tokens, self._max_length - len(ids)),
                    seed=sample_seed(sampling.seed, index, sample),
                    stop=list(sampling.stop),
                    stop_token_ids=self._end_ids,
                    # vLLM finds stop strings in its own text; ours is decoded at once at the end
                    detokenize=bool(sampling.stop),
                    # That of the token alone, with no object for each
                    logprobs=0 if sampling.log_probs else None,
                    flat_logprobs=sampling.log_probs,
                    output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
                )
                yield f"{index}/{sample}", (index, sample), {"prompt_token_ids": ids}, params

    def close(self) -> None:
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
            gc.collect()

    def _unpack(self, completion: "vllm.CompletionOutput", stop: Sequence[str]) -> Generation:
        if completion.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended a completion with finish_reason={completion.finish_reason!r}")
        ids = list(completion.token_ids)
        text, stopped = cut_at_stop(self._decode(ids), stop)
        log_probs = None
        if completion.logprobs is not None:
            within = tokens_within(text, len(ids), lambda count: self._decode(ids[:count])) if stopped else len(ids)
            log_probs = completion.logprobs.logprobs[:within]
        return Generation(text, ids, len(ids), completion.finish_reason, log_probs)

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _defaults(model: str, options: dict[str, Any], trust_remote_code: bool) -> dict[str, Any]:
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return {}
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    # On a CPU, compilation costs more than it gains, and a seeded request dies when its prefill is cut in chunks
    length = options.get("max_model_len") or _context_length(model, trust_remote_code)
    return {
        "enforce_eager": True,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(_CPU_BATCHED_TOKENS, length),
    }


def _context_length(model: str, trust_remote_code: bool) -> int:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)
    return int(getattr(config.get_text_config(), "max_position_embeddings", None) or 0)


def _lora_rank(adapter: dict[str, Any]) -> int:
    rank = max([int(adapter.get("r") or 0), *map(int, (adapter.get("rank_pattern") or {}).values())])
    for supported in _LORA_RANKS:
        if rank <= supported:
            return supported
    raise UserError(f"vLLM loads adapters of rank up to {_LORA_RANKS[-1]}, not {rank}: merge it into its base first")
