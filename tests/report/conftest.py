"""A made-up run with all its parts, and its page, drawn once for all tests."""

from pathlib import Path

import pytest

from glow_trl.report import write_report
from glow_trl.report.svg import Chart
from helpers.made_up_run import FIVE_ARMS, make_run_folder


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> Path:
    return make_run_folder(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def page(whole_run) -> str:
    write_report(whole_run)
    return (whole_run / "report.html").read_text()


@pytest.fixture(scope="session")
def five_arms(tmp_path_factory) -> Path:
    """The folder of a made-up run whose arms have names of their own, with its page."""
    folder = make_run_folder(tmp_path_factory.mktemp("five") / "run", arms=FIVE_ARMS, steps=40)
    write_report(folder)
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """Charts are laid out as ever and then not drawn: for tests that are about the text."""
    monkeypatch.setattr(Chart, "_render", lambda chart: f'<svg role="img" aria-label="{len(chart.title)}"></svg>')
