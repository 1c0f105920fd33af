"""A stage ends with the launcher that started it, however that ends, and with no other parent."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from glow_trl.stages import processes
from helpers.launching import CPU, environment, launch_command, on_cpu
from helpers.processes import children, run_to_the_end, wait_until


@pytest.fixture
def stage(tiny_model, trajectories, tmp_path):
    """The module of stage 1, and arguments with which it trains until it is killed."""
    options = ["--model_name_or_path", tiny_model, "--dataset_name", trajectories, "--output_dir", tmp_path / "out"]
    options += [*CPU, "--save_steps", 5, "--save_total_limit", 1, "--max_steps", 10**6]
    return ["-m", "glow_trl.cli", "sft", *map(str, options)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "number"),
    [("cpu", signal.SIGTERM), ("ddp", signal.SIGKILL)],
    ids=lambda value: getattr(value, "name", value),
)
def test_nothing_outlives_a_launcher_made_by_hand(stage, tmp_path, launcher, number):
    """Neither the training nor the workers of its data loader."""
    command = launch_command(on_cpu(launcher, tmp_path, 1 if launcher == "cpu" else 2), *stage)
    command += ["--dataloader_num_workers", "1", "--dataloader_persistent_workers", "true"]
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment(), stdout=output, stderr=output)
    started = []
    try:
        wait_until(lambda: list((tmp_path / "out").glob("checkpoint-*/trainer_state.json")), process, log)
        started = children(psutil.Process(process.pid))
        # Each training process, and a worker of each
        assert len(started) >= (2 if launcher == "cpu" else 4)
        process.send_signal(number)
        process.wait()
        assert not psutil.wait_procs(started, timeout=60)[1], "they go on training"
    finally:
        for each in [process, *started]:
            if each.poll() is None if each is process else each.is_running():
                each.kill()


WAITS = """
import os, sys, time
from datetime import timedelta
import torch.distributed as distributed
from glow_trl.stages.processes import wait_for_others

rank, file = int(sys.argv[1]), sys.argv[2]
wait_for_others(timedelta(days=7))  # there are none
place = {"init_method": f"file://{file}", "rank": rank, "world_size": 2}
distributed.init_process_group("gloo", timeout=timedelta(seconds=2), **place)
for seconds in (604_800, 1):
    wait_for_others(timedelta(seconds=seconds))
    if rank == 0:
        time.sleep(4)
    try:
        distributed.barrier()
        print("came")
    except RuntimeError as error:
        print("gave up" if "Timed out waiting 1000ms" in str(error) else "left alone")
sys.stdout.flush()
os._exit(0)
"""


def test_how_long_a_process_waits_for_another(tmp_path):
    """For what the process group was made for no longer: for days while the data is prepared, then as is set."""
    commands = [[sys.executable, "-c", WAITS, str(rank), str(tmp_path / "store")] for rank in (0, 1)]
    started = [subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) for command in commands]
    said = [process.communicate(timeout=120)[0].split("\n")[:2] for process in started]
    assert said == [["came", "left alone"], ["came", "gave up"]]


def test_a_stage_outlives_the_shell_that_started_it(tiny_model, trajectories, tmp_path):
    """With what accelerate puts into the environment, which people export too."""
    options = ["--model_name_or_path", tiny_model, "--dataset_name", trajectories, "--output_dir", tmp_path / "out"]
    options += [*CPU, "--num_train_epochs", 2]
    command = [sys.executable, "-m", "glow_trl", "sft", *options]
    line = f"nohup {' '.join(map(str, command))} > {tmp_path / 'log'} 2>&1 &"
    run_to_the_end(["bash", "-c", line], env=environment(ACCELERATE_MIXED_PRECISION="no"))

    def is_complete():
        file = tmp_path / "out" / "run.json"
        return file.exists() and json.loads(file.read_text())["status"] == "complete"

    wait_until(is_complete)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["python3", "-u", "/env/bin/accelerate", "launch", "train.py"], True),
        (["/env/bin/python", "-m", "accelerate.commands.launch", "train.py"], True),
        (["/env/bin/python3.11", "-X", "dev", "/env/bin/torchrun", "train.py"], True),
        (["python", "-m", "torch.distributed.run", "train.py"], True),
        (["python", "-u", "-m", "deepspeed.launcher.launch", "train.py"], True),
        (["accelerate", "launch", "train.py"], True),
        (["bash", "-c", "accelerate launch train.py"], False),
        (["bash", "/home/me/accelerate"], False),
        (["python", "-m", "ipykernel_launcher", "-f", "torchrun"], False),
        (["python", "/home/me/accelerate.py"], False),
        (["python", "-m", "glow_trl", "run", "accelerate"], False),
        ([], False),
    ],
)
def test_what_a_launcher_is(command, expected, tmp_path, monkeypatch):
    (tmp_path / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in command))
    monkeypatch.setattr(processes, "Path", lambda path: tmp_path / "cmdline")
    assert processes._is_launcher(1) is expected


def test_a_launcher_that_is_gone_before_is_noticed():
    """As where the run is killed in the seconds that its launcher takes to import accelerate."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    code = "from glow_trl.stages.processes import end_with_launcher; end_with_launcher(); print('goes on')"
    for pid, expected in ((gone.pid, -signal.SIGTERM), (os.getpid(), 0)):
        variables = environment(**{processes.LAUNCHER: str(pid)})
        run = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
        assert run.returncode == expected, run.stderr


def test_one_of_several_processes_leaves_without_the_end_of_the_interpreter():
    """What is registered to be done at the end is done, and all output is there; the threads of torch are left."""
    code = (
        "import atexit, sys, threading, time; from glow_trl.stages.processes import leave; "
        "atexit.register(print, 'done'); threading.Thread(target=time.sleep, args=(10000,)).start(); leave(3)"
    )
    run = subprocess.run([sys.executable, "-c", code], env=environment(WORLD_SIZE="2"), capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (3, "done\n"), run.stderr
