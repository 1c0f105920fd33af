"""The ranges of pyproject.toml take the versions that the tests run on, and CONTRIBUTING.md says these."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from helpers.launching import ROOT


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in pairs}


def refused(requirements: list[str], versions: dict[str, str]) -> list[str]:
    needed = [Requirement(text) for text in requirements]
    return [str(one) for one in needed if not one.specifier.contains(versions.get(one.name.lower(), "0"))]


@pytest.mark.parametrize(
    ("file", "extras"),
    [("constraints.txt", ["dev", "deepspeed", "vllm"]), ("constraints-newest.txt", ["dev", "deepspeed"])],
)
def test_what_is_pinned_is_in_range(file, extras):
    wanted = [*PROJECT["dependencies"]]
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    assert len(wanted) > 20 and refused(wanted, pinned(file)) == []


def test_only_the_extra_keeps_transformers_back():
    newest = pinned("constraints-newest.txt")
    assert "vllm" not in newest
    assert refused(PROJECT["optional-dependencies"]["vllm"], newest | {"vllm": "0.31.0"}) == ["transformers<5.18"]


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-newest.txt"])
def test_the_table_says_what_was_run(file):
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for name in ("transformers", "trl"):
        assert any(pinned(file)[name] in row for row in rows), f"{name} {pinned(file)[name]} has no row"
