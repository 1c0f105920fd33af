"""
What test_grpo_vllm.py runs in a process of its own: `-m helpers.grpo_vllm_worker [--stale] ARGUMENT...`, the GRPO
stage with a real vLLM engine. On CPU two things take the place of TRL's, and only here:

- the engine does not compile, which costs half a minute;
- weights reach it through vLLM's `reload_weights`, as its CPU layers have no loader for single tensors, and the
  transfer to a server needs NCCL. With `--stale` they do not reach it at all.
"""

import functools
import os
import sys
from pathlib import Path

import requests
from safetensors.torch import save_file
from trl.generation import vllm_generation
from trl.generation.vllm_client import VLLMClient

from glow_trl.cli import main


def weights(generation) -> list:
    """What an engine is given: with tied embeddings the output head too, which otherwise stays as it is, silently."""
    pairs = [(name, parameter.detach()) for name, parameter in generation._iter_named_params()]
    if "lm_head.weight" not in dict(pairs):
        pairs.append(("lm_head.weight", dict(pairs)["model.embed_tokens.weight"]))
    return pairs


def reload_weights(generation, stale: bool, folder: Path) -> None:
    if stale:
        return
    if generation.mode == "colocate":
        generation.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights(generation)})
        generation.llm.reset_prefix_cache()
        return
    pairs = weights(generation)
    if generation.accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.clone().contiguous() for name, tensor in pairs}, folder / "model.safetensors")
        call = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        requests.post(f"{generation.vllm_client.base_url}/collective_rpc", json=call, timeout=600).raise_for_status()
        generation.vllm_client.reset_prefix_cache()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    stale = arguments[0] == "--stale"
    folder = Path(arguments[arguments.index("--output_dir") + 1], "weights")
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}
    vllm_generation.LLM = functools.partial(vllm_generation.LLM, enforce_eager=True, dtype="float32")
    vllm_generation.VLLMGeneration.sync_weights = functools.partialmethod(reload_weights, stale, folder)
    VLLMClient.init_communicator = lambda self, device: None
    sys.exit(main(["grpo", *arguments[stale:]]))
