"""Arms of any names: told apart by color, dash pattern and marker, and shown with what they were trained on."""

import json
import re
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from test_report import Page

from glow_trl.report import arm_styles, write_report
from glow_trl.report.arm_styles import PALETTE, ArmStyle
from glow_trl.report.run_data import read_run_folder
from glow_trl.report.training_data import arm_rows, training_trajectories
from glow_trl.stages.fingerprint import fingerprint
from helpers.colors import DEFICIENCIES, contrast, lab, parse_hex
from helpers.made_up_run import FIVE_ARMS, make_run_folder, stage_run, write_json, write_rows


CSS = Path(arm_styles.__file__).parent / "templates" / "report.css"


def shown(text: str) -> str:
    """The words of a page."""
    return " ".join("".join(Page(text).text).split())


def test_five_arms_have_five_colors_dash_patterns_and_markers_in_legend_and_charts(five_arms):
    page = (five_arms / "report.html").read_text()
    legends = [found for found in re.findall(r'<ul class="legend">.*?</ul>', page, re.DOTALL) if "swatch" in found]
    assert len(legends) == 6
    for legend in legends:
        items = re.findall(r"<li>(.*?)</li>", legend, re.DOTALL)[-5:]
        assert [shown(item).strip() for item in items] == list(FIVE_ARMS)
        for part in (r"var\((--arm-\d)\)", r'<path [^>]*?(?:stroke-dasharray="([^"]+)")?/>', r'points="([^"]+)"'):
            assert len({re.search(part, item)[1] for item in items}) == 5
    reward = next(svg for svg in re.findall(r"<svg role=.*?</svg>", page, re.DOTALL) if "Reward over the steps" in svg)
    bold = re.findall(
        r'style="fill: none; (?:stroke-dasharray: ([\d., ]+); [^"]*?)?stroke: var\((--arm-\d)\); '
        r"[^\"]*stroke-width: 1.8",
        reward,
    )
    assert len({color for _, color in bold}) == len({dash for dash, _ in bold}) == 5


def test_places_have_styles_of_their_own_and_neighbors_differ_in_everything():
    styles = [ArmStyle.at(place) for place in range(64)]
    assert len({(style.color, style.dash) for style in styles}) == 64
    assert len({(style.color, style.marker) for style in styles}) == 64
    for one, two in combinations(styles[: len(PALETTE)], 2):
        assert one.color != two.color and one.dash != two.dash and one.marker != two.marker
    assert len({style.swatch for style in styles}) == 64


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_marks_stand_out_and_differ_for_every_kind_of_color_vision(scheme):
    """3 to 1 with what is behind them (WCAG 2), and as far from each other as Okabe and Ito's own colors are."""
    colors = [parse_hex(pair[scheme]) for pair in PALETTE]
    backgrounds = [re.findall(rf"--{name}: (#\w+);", CSS.read_text())[scheme] for name in ("bg", "surface")]
    for color, background in product(colors, backgrounds):
        assert contrast(color, parse_hex(background)) >= 3
    for vision in DEFICIENCIES:
        for one, two in combinations(colors, 2):
            assert np.linalg.norm(lab(one, vision) - lab(two, vision)) >= 15, (one, two, vision)


@pytest.mark.parametrize("as_mapping", [True, False])
def test_the_runs_own_order_comes_first_and_then_what_else_is_there(tmp_path, as_mapping):
    for name, started in (("zeta", ""), ("beta-5", ""), ("late", "2026-01-02"), ("early", "2026-01-01")):
        write_json(tmp_path / name / "sft" / "run.json", {"stage": "sft", "started": started})
    (tmp_path / "label").mkdir()
    arms = {"zeta": None, "not.begun": {}, "beta-5": {"glow_beta": 5}}
    write_json(tmp_path / "run.json", {"stage": "run", "arms": arms if as_mapping else list(arms)})
    data = read_run_folder(tmp_path)
    assert list(data.arms) == ["zeta", "beta-5", "early", "late"] and data.main_arm.name == "zeta"
    # A color stays an arm's own when one before it begins
    assert [arm.style for arm in data.arms.values()] == [ArmStyle.at(place) for place in (0, 2, 3, 4)]
    changes = [{}, {"glow_beta": 5}] if as_mapping else [None, None]
    assert [arm.changes for arm in data.arms.values()] == [*changes, None, None]


def test_names_are_text_wherever_they_stand(tmp_path):
    name = "<script>x & \"$y^2$'"
    folder = make_run_folder(
        tmp_path / "run", arms={name: {"a_<b>": "</td>", "grpo": {"beta": 0.1}}, "_other": {}}, steps=6
    )
    write_report(folder)
    page = (folder / "report.html").read_text()
    parsed = Page(page)
    assert parsed.tags["script"] == 0 and len(parsed.ids) == len(set(parsed.ids))
    assert name in shown(page) and "a_<b>: </td>, grpo.beta: 0.1" in shown(page)
    charts = "".join(re.findall(r"<svg role=.*?</svg>", page, re.DOTALL))
    assert "$y^2$" in charts and "<script" not in charts


def test_the_arms_table_says_what_each_was_trained_on(five_arms):
    rows = {row["name"]: row for row in arm_rows(read_run_folder(five_arms))}
    assert list(rows) == list(FIVE_ARMS)
    digest = fingerprint(five_arms / "label" / "trajectories.jsonl")
    for name, changes in FIVE_ARMS.items():
        assert rows[name]["sources"] == {"label/trajectories.jsonl": digest}
        assert rows[name]["selection"] == changes.get("trajectories", "all")
        assert (rows[name]["samples"], rows[name]["trained"]) == (600, 595)
    text = shown((five_arms / "report.html").read_text())
    assert "weighting: uniform, num_train_epochs: 7" in text and digest in text
    assert ": positive trajectories only" in text and "595 in the last epoch" in text


def test_trajectories_are_those_of_the_mix_that_the_main_arm_read(tmp_path):
    """In a folder that has moved since; label/trajectories.jsonl, which went into the mix, is not what was read."""
    rows = [
        {"question": f"q{i}", "completion": "c", "answer": "1", "is_correct": i % 3 == 0, "reason": "mixed"}
        for i in range(30)
    ]
    write_rows(tmp_path / "mix" / "train.jsonl", rows)
    write_rows(tmp_path / "label" / "trajectories.jsonl", rows[:4])
    write_json(tmp_path / "mix" / "run.json", stage_run("mix", 1.0) | {"rejected": 3})
    source = "elsewhere/runs/old/mix/train.jsonl"
    config = {"dataset_name": [source], "trajectories": "negative", "limit": 24, "columns": {"problem": "question"}}
    record = stage_run("sft", 1.0, **config) | {"data": {source: fingerprint(tmp_path / "mix" / "train.jsonl")}}
    write_json(tmp_path / "mine" / "sft" / "run.json", record)
    found = training_trajectories(read_run_folder(tmp_path))
    assert (found["files"], found["total"], found["selection"]) == (["mix/train.jsonl"], 16, "negative")
    assert [(row["label"], row["count"]) for row in found["rows"]] == [("negative", 16)] and found["rejected"] == 3
    assert found["examples"][0]["problem"] == "q1"
    # Once the file has changed, nothing claims that it was trained on
    write_rows(tmp_path / "mix" / "train.jsonl", rows[1:])
    assert training_trajectories(read_run_folder(tmp_path)) is None


def test_before_any_training_the_trajectories_wait(tmp_path, undrawn):
    make_run_folder(tmp_path, arms={}, steps=1)
    write_report(tmp_path)
    text = shown((tmp_path / "report.html").read_text())
    assert "200 trajectories of label/trajectories.jsonl; no arm has been trained on them yet" in text
    assert "No arm of this run has been trained yet" in text


def test_settings_shown_are_those_given_and_older_records_have_no_others(tmp_path, undrawn):
    folder = make_run_folder(tmp_path / "run", arms={"mine": {}}, steps=2)
    path = folder / "mine" / "grpo" / "run.json"
    write_report(folder)
    settings = re.findall(r"<summary>(.*?)</summary><pre>(.*?)</pre>", (folder / "report.html").read_text(), re.DOTALL)
    shown_for = {name: json.loads(text.replace("&#34;", '"')) for name, text in settings}
    assert shown_for["mine / sft"] == json.loads((folder / "mine" / "sft" / "run.json").read_text())["given"]
    assert "weighting" not in shown_for["mine / sft"]
    assert shown_for["mine / grpo"] == json.loads(path.read_text())["config"]
