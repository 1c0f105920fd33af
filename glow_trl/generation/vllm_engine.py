"""Generation with vLLM, in this process."""

import gc
import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ..errors import MissingExtraError, UserError
from .base import Engine, Generation, SamplingConfig
from .loading import adapter_config, end_token_ids, load_tokenizer


try:
    import vllm
    from vllm.lora.request import LoRARequest
except ImportError as error:
    raise MissingExtraError("vllm", "vllm", "the generation engine 'vllm'") from error

_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


class VLLMEngine(Engine):
    """Samples with vLLM. All prompts are queued at once; vLLM batches them as memory allows.

    Every prompt has a seed of its own, so that a run which is started again and skips what it has continues as it
    would have.

    Args:
        model_name_or_path (`str`):
            A checkpoint's folder (full model or LoRA adapter) or a model id.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Precision of the weights.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether code that comes with the checkpoint may run.
        **options:
            Passed to `vllm.LLM`: `tensor_parallel_size`, `gpu_memory_utilization`, `max_model_len`, ...

    Raises:
        MissingExtraError: vLLM is not installed.
    """

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
        self._llm = vllm.LLM(
            model=base,
            tokenizer=model_name_or_path,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            **(_defaults() | options),
        )

    def stream(
        self,
        prompts: Sequence[str] | Sequence[Sequence[int]],
        sampling: SamplingConfig,
        skip: Collection[int] = (),
    ) -> Iterator[tuple[int, list[Generation]]]:
        engine = self._llm.llm_engine
        skip, pending = set(skip), set()
        for index, prompt in enumerate(prompts):
            if index not in skip:
                ids = self._tokenizer.encode(prompt, add_special_tokens=False) if isinstance(prompt, str) else prompt
                params = vllm.SamplingParams(
                    n=sampling.num_samples,
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    max_tokens=sampling.max_new_tokens,
                    seed=_prompt_seed(sampling.seed, index),
                    stop_token_ids=self._end_ids,
                    detokenize=False,
                    output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
                )
                request = {"prompt_token_ids": list(ids)}
                engine.add_request(str(index), request, params, lora_request=self._adapter)
                pending.add(str(index))
        try:
            while engine.has_unfinished_requests():
                for output in engine.step():
                    if output.finished:
                        pending.discard(output.request_id)
                        yield int(output.request_id), self._unpack(output)
        finally:
            # A caller that stops early must not find these requests among its next ones
            engine.abort_request(list(pending))

    def close(self) -> None:
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
            gc.collect()

    def _unpack(self, output: "vllm.RequestOutput") -> list[Generation]:
        generations = []
        for completion in sorted(output.outputs, key=lambda item: item.index):
            if completion.finish_reason not in ("stop", "length"):
                raise RuntimeError(f"vLLM ended a completion with finish_reason={completion.finish_reason!r}")
            ids = list(completion.token_ids)
            text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            generations.append(Generation(text, ids, len(ids), completion.finish_reason))
        return generations


def _defaults() -> dict[str, Any]:
    import torch

    if torch.cuda.is_available():
        return {}
    # On a CPU, compilation costs more than it gains, and a seeded request dies when its prefill is cut in chunks
    return {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 32768}


def _lora_rank(adapter: dict[str, Any]) -> int:
    rank = max([int(adapter.get("r") or 0), *map(int, (adapter.get("rank_pattern") or {}).values())])
    for supported in _LORA_RANKS:
        if rank <= supported:
            return supported
    raise UserError(f"vLLM loads adapters of rank up to {_LORA_RANKS[-1]}, not {rank}: merge it into its base first")


def _prompt_seed(seed: int, index: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:4], "little") >> 1
