"""The vLLM server of a GRPO run with `vllm_mode: server`, started with the run and stopped after it."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UserError
from ..stages.processes import end_with_parent


logger = logging.getLogger(__name__)

# What torchrun and accelerate tell the processes of the training, of which the server is none
_LAUNCHER = ("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
_LAUNCHER_PREFIXES = ("MASTER_", "TORCHELASTIC_", "ACCELERATE_", "ROLE_", "FSDP_")


def server_command(
    model: str,
    host: str,
    port: int,
    dtype: str | None = None,
    max_model_len: int | None = None,
    nccl: bool = True,
    arguments: Sequence[str] = (),
) -> list[str]:
    """
    The command that starts a server that TRL can work with: it must send the log-probabilities that it sampled from,
    and take new weights. `nccl`: whether these come through NCCL, TRL's way, which needs a GPU. `max_model_len`:
    longest prompt and completion together, in tokens. `arguments`: further ones of `vllm serve`.
    """
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    command += ["--host", host, "--port", str(port), "--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    if dtype not in (None, "auto"):
        command += ["--dtype", dtype]
    if max_model_len is not None:
        command += ["--max-model-len", str(max_model_len)]
    if nccl:
        command += ["--weight-transfer-config", '{"backend": "nccl"}']
    return [*command, *arguments]


class VLLMServer:
    """
    Runs a server while the context is open. It ends with the process that started it, however that ends.

    `log_file` takes what it prints, `devices` are the GPUs that it sees, as in `CUDA_VISIBLE_DEVICES`, and `timeout`
    is in seconds. Raises `UserError` if the port is in use or the server does not come up.
    """

    def __init__(
        self, command: Sequence[str], port: int, log_file: Path, devices: str | None = None, timeout: float = 600.0
    ):
        self.command = list(command)
        self.port = port
        self.log_file = log_file
        self.devices = devices
        self.timeout = timeout
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "VLLMServer":
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                raise UserError(
                    f"vllm_server_port: something listens on port {self.port} already. Set another, or leave "
                    "start_vllm_server out if it is the server to use"
                )
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        logger.warning("grpo: starting the vLLM server on port %d, log in %s", self.port, self.log_file)
        with self.log_file.open("w") as log:
            self._process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=_environment(os.environ, self.devices),
                start_new_session=True,
                # A run that is killed must not leave a server behind, which would keep its GPUs and its port
                preexec_fn=end_with_parent,
            )
        try:
            self._wait(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and what it started."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(timeout=20)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._process = None

    def _wait(self, process: subprocess.Popen) -> None:
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise UserError(f"the vLLM server ended with {process.returncode}: {self._last_error()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise UserError(f"the vLLM server is not up after {self.timeout:.0f} s; its log is {self.log_file}")

    def _last_error(self) -> str:
        lines = [line.strip() for line in self.log_file.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line or "error:" in line]
        last = (errors or lines or ["it printed nothing"])[-1]
        return f"{last[:300]}; its log is {self.log_file}"


def _environment(environment: Mapping[str, str], devices: str | None) -> dict[str, str]:
    kept = {
        name: value
        for name, value in environment.items()
        if name not in _LAUNCHER and not name.startswith(_LAUNCHER_PREFIXES)
    }
    # Opens what TRL sends new weights through
    kept["VLLM_SERVER_DEV_MODE"] = "1"
    if devices is not None:
        kept["CUDA_VISIBLE_DEVICES"] = devices
    return kept
