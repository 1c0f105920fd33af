"""The machine in a stage's record: what this one is, and how it reads."""

import os

import pytest

from glow_trl.stages.machine import describe_machine, machine
from glow_trl.stages.record import provenance


def test_a_record_names_this_machine():
    facts = provenance()["machine"]
    assert facts == machine()
    assert facts["cores"] == len(os.sched_getaffinity(0)) and facts["cpu"] and facts["memory"] > 0


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver with two GPUs, which takes the ids of some as the real one does."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\nfor word in "$@"; do case $word in --id=*) ids=${word#--id=};; esac; done\n'
        + "".join(f"case ${{ids:-0,1}} in *{n}*) echo 'Some GPU, 81559';; esac\n" for n in (0, 1))
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("0", 1), ("0,1", 2), ("", 0), ("-1", 0)])
def test_gpus_are_those_that_the_process_may_use(driver, monkeypatch, visible, count):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine()["gpus"] == count * [{"name": "Some GPU", "memory": 79.6}]


def test_a_driver_that_fails_is_no_gpu_and_no_error(driver):
    driver.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert machine()["gpus"] == []


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (None, "unknown"),
        ({}, "unknown"),
        ({"cpu": "A", "cores": 1, "memory": 3.5, "gpus": []}, "no GPU, A (1 core), 3.5 GiB of memory"),
        (
            {"cpu": "A", "cores": 16, "memory": None, "gpus": 2 * [{"name": "G", "memory": 80.0}]},
            "2 × G (80 GiB), A (16 cores)",
        ),
    ],
)
def test_it_reads_well(facts, text):
    assert describe_machine(facts) == text
