"""Training dynamics against plain loops over the numbers, the files that are written, and a real training run."""

import dataclasses
import json
import math
import statistics

import numpy as np
import pyarrow.parquet
import pytest

from glow_trl.analysis import LossHistory, RunWeighting, data_map, epoch_table, group_tables
from glow_trl.analysis.dynamics import DynamicsConfig, analyze, main
from glow_trl.analysis.groups import groups_of
from glow_trl.errors import UserError
from helpers.sft_folders import made_up, write_sft_folder


WEIGHTED = {"weighting": "glow", "glow_alpha": 2.0, "glow_beta": 10.0, "glow_max_weight": 1.5}


@pytest.fixture
def folder(tmp_path):
    losses, rows = made_up()
    return write_sft_folder(tmp_path / "sft", losses, rows, WEIGHTED)


def expected_weight(before: float, now: float, epoch: int) -> float:
    """The formula of the paper, one sample at a time."""
    if epoch == 1 or math.isnan(before):
        return 1.0
    return min(max(2.0 * (1 - 1 / (1 + math.exp(-10.0 * (before - now)))), 0.5), 1.5)


def test_every_column_agrees_with_loops_over_the_samples(folder):
    """Loss, gain, weight and the shares at the bounds, for all, by label and by each value of other columns."""
    losses, rows = made_up()
    ledger = LossHistory.read(folder / "ledger")
    tables = group_tables(ledger, RunWeighting.from_config(WEIGHTED), ["is_correct", "source", "pattern"])
    members = {("all", "all"): range(len(rows))}
    for index, row in enumerate(rows):
        label = "positive" if row["is_correct"] else "negative"
        for key in (("is_correct", label), ("source", row["source"]), ("pattern", row.get("pattern", "(none)"))):
            members.setdefault(key, []).append(index)
    assert {(column, value) for column, groups in tables.items() for value in groups} == set(members)
    for (column, value), indices in members.items():
        for position, row in enumerate(tables[column][value]):
            now = [losses[position, i] for i in indices if not math.isnan(losses[position, i])]
            assert row["samples"] == len(now)
            assert row["loss"] == pytest.approx(statistics.fmean(now))
            assert row["loss_std"] == pytest.approx(statistics.pstdev(now))
            assert row["loss_median"] == pytest.approx(statistics.median(now))
            pairs = [
                (losses[position - 1, i] if position else math.nan, losses[position, i])
                for i in indices
                if not math.isnan(losses[position, i])
            ]
            gains = [before - after for before, after in pairs if not math.isnan(before)]
            weights = [expected_weight(before, after, position + 1) for before, after in pairs]
            assert row["weight"] == pytest.approx(statistics.fmean(weights))
            if position == 0:
                assert row["gain"] is None and row["at_min"] is None
                continue
            assert row["gain"] == pytest.approx(statistics.fmean(gains))
            assert row["improved"] == pytest.approx(sum(gain > 0 for gain in gains) / len(gains))
            ranked = [expected_weight(gain, 0.0, 2) for gain in gains]
            assert row["at_min"] == pytest.approx(sum(weight == 0.5 for weight in ranked) / len(ranked))
            assert row["at_max"] == pytest.approx(sum(weight == 1.5 for weight in ranked) / len(ranked))
            assert row["at_min"] > 0


def test_combined_columns_and_rare_values(folder):
    ledger = LossHistory.read(folder / "ledger")
    both = groups_of(ledger, "is_correct+source")
    assert sum(mask.sum() for mask in both.values()) == len(ledger)
    assert set(both) == {f"{label} · s{i}" for label in ("positive", "negative") for i in range(3)}
    few = groups_of(ledger, "source", most=2)
    largest = max(groups_of(ledger, "source").items(), key=lambda item: item[1].sum())[0]
    assert list(few) == [largest, "(other)"]
    assert sum(mask.sum() for mask in few.values()) == len(ledger)
    with pytest.raises(UserError, match="no column 'modle'"):
        groups_of(ledger, "modle")


def test_the_data_map_agrees_with_loops_and_finds_what_was_planted():
    losses, rows = made_up(epochs=6)
    losses[:, 10] = [0.5, 0.6, 0.5, 0.7, 0.55, 0.5]  # never below the first
    losses[:, 11] = [0.5, 0.6, 0.49, 0.7, 0.6, 0.9]  # once, by 0.01
    losses[:, 12] = [np.nan, 0.6, 0.7, 0.8, 0.9, 1.0]  # not visited in the first epoch
    losses[:, 13] = [0.5, np.nan, np.nan, np.nan, np.nan, np.nan]  # never again
    ledger = dataclasses.replace(_ledger(losses, rows))
    found = data_map(ledger)
    for index in range(losses.shape[1]):
        values = [value for value in losses[:, index] if not math.isnan(value)]
        later = [value for value in losses[1:, index] if not math.isnan(value)]
        first = losses[0, index]
        comparable = bool(later) and not math.isnan(first)
        assert found.known[index] == comparable
        assert found.never_improved[index] == (comparable and min(later) >= first)
        if values:
            assert found.mean_loss[index] == pytest.approx(statistics.fmean(values))
        if len(values) > 1:
            assert found.variability[index] == pytest.approx(statistics.pstdev(values))
        else:
            assert math.isnan(found.variability[index])
    assert found.never_improved[[10, 11, 12, 13]].tolist() == [True, False, False, False]
    assert data_map(ledger, min_improvement=0.02).never_improved[[10, 11]].tolist() == [True, True]
    assert data_map(ledger, reference_epoch=2).never_improved[12]
    assert not data_map(ledger, reference_epoch=6).known.any()
    with pytest.raises(ValueError, match="epoch 9"):
        data_map(ledger, reference_epoch=9)


def _ledger(losses, rows):
    return LossHistory(
        list(range(1, len(losses) + 1)),
        losses,
        np.array([int(row["is_correct"]) for row in rows]),
        [row["sample_id"] for row in rows],
    )


def test_the_files_hold_every_sample_with_its_losses_gains_and_weights(folder, tmp_path):
    losses, rows = made_up()
    analyze(DynamicsConfig(run_dir=str(folder), output_dir=str(tmp_path / "out"), long=True))
    table = pyarrow.parquet.read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert [row["sample_id"] for row in table] == [row["sample_id"] for row in rows]
    for index, row in enumerate(table):
        assert row["is_correct"] == rows[index]["is_correct"] and row["pattern"] == rows[index].get("pattern")
        for epoch in range(1, 6):
            now = losses[epoch - 1, index]
            before = losses[epoch - 2, index] if epoch > 1 else math.nan
            assert row[f"loss_epoch_{epoch}"] == (None if math.isnan(now) else pytest.approx(now))
            weight = None if math.isnan(now) else pytest.approx(expected_weight(before, now, epoch))
            assert row[f"weight_epoch_{epoch}"] == weight
            if epoch > 1:
                gain = before - now
                assert row[f"gain_epoch_{epoch}"] == (None if math.isnan(gain) else pytest.approx(gain))
    assert "gain_epoch_1" not in table[0]
    long = pyarrow.parquet.read_table(tmp_path / "out" / "samples_long.parquet").to_pylist()
    assert len(long) == np.count_nonzero(~np.isnan(losses))
    assert all(row["loss"] is not None and row["weight"] is not None for row in long)
    never = [json.loads(line) for line in (tmp_path / "out" / "never_improved.jsonl").read_text().splitlines()]
    assert {row["sample_id"] for row in never} == {row["sample_id"] for row in table if row["never_improved"]}
    assert never == sorted(never, key=lambda row: -row["mean_loss"]) and never
    results = json.loads((tmp_path / "out" / "dynamics.json").read_text())
    assert results["data_map"]["groups"]["all"]["all"]["never_improved"] == len(never)
    assert "never improves if" in results["data_map"]["definition"]
    assert results["weighting"]["parameters"]["alpha"] == 2.0 and results["versions"]


def test_any_column_of_the_training_data_is_joined_by_sample_id(folder, tmp_path):
    """From the file that the stage recorded, or from one that is named; in any order, and with columns renamed."""
    _, rows = made_up()
    data = [
        {"sample_id": row["sample_id"], "problem": "p", "completion": "c", "lvl": index % 4}
        for index, row in enumerate(rows)
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in reversed(data)))
    config = DynamicsConfig(
        run_dir=str(folder), output_dir=str(tmp_path / "out"), by=["level"], data=[str(path)], columns={"level": "lvl"}
    )
    groups = analyze(config)[""]["groups"]["level"]
    assert {value: table[0]["samples"] for value, table in groups.items()} == {
        str(level): int(sum(not math.isnan(loss) for loss in made_up()[0][0, level::4])) for level in range(4)
    }
    record = json.loads((folder / "run.json").read_text())
    record["config"] |= {"dataset_name": [str(path)], "columns": {"level": "lvl"}}
    (folder / "run.json").write_text(json.dumps(record))
    again = analyze(DynamicsConfig(run_dir=str(folder), output_dir=str(tmp_path / "two"), by=["level"]))
    assert again[""]["groups"]["level"] == groups
    path.write_text(json.dumps(data[0] | {"sample_id": "else"}) + "\n")
    with pytest.raises(UserError, match="none of the 240 trained samples"):
        analyze(config)


def test_a_run_of_several_arms_and_the_command(tmp_path, capsys):
    losses, rows = made_up(samples=40)
    for arm in ("glow", "all"):
        write_sft_folder(tmp_path / "run" / arm / "sft", losses, rows, WEIGHTED)
    main([str(tmp_path / "run"), "--by", "source", "model"])
    printed = capsys.readouterr().out
    assert "glow" in printed and "by source" in printed and "never" in printed
    for arm in ("glow", "all"):
        written = sorted(path.name for path in (tmp_path / "run" / arm / "sft" / "dynamics").iterdir())
        assert written == ["dynamics.json", "never_improved.jsonl", "run.json", "samples.parquet"]
    main(
        [
            str(tmp_path / "run" / "glow"),
            "--export",
            str(tmp_path / "one.parquet"),
            "--output_dir",
            str(tmp_path / "o"),
        ]
    )
    assert pyarrow.parquet.read_table(tmp_path / "one.parquet").num_rows == 40
    with pytest.raises(UserError, match="2 arms"):
        main([str(tmp_path / "run"), "--export", str(tmp_path / "x.parquet")])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name the folder"),
        (["{}/none"], "no such folder"),
        (["{}"], "no losses found"),
        (["{}/sft", "--by", "soruce"], "no column 'soruce'"),
        (["{}/sft", "--reference_epoch", "9"], "epoch 9 was not recorded"),
        (["{}/sft", "--export", "x.csv"], "must end in .parquet"),
        (["{}/sft", "--min_improvement", "-1"], "0 or more"),
        (["{}/sft", "--exprot", "x.parquet"], "did you mean --export"),
    ],
)
def test_mistakes_are_named_in_one_line(folder, argv, message):
    root = folder.parent
    argv = [token.format(root) for token in argv]
    if argv == [str(root)]:
        argv = [str(root / "empty")]
        (root / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        main(argv)


def test_a_ledger_without_samples_or_with_broken_files_is_read_as_far_as_it_goes(folder, tmp_path):
    (folder / "ledger" / "samples.jsonl").unlink()
    (folder / "ledger" / "epoch-005.npy").write_bytes(b"\x93NUMPY")
    ledger = LossHistory.read(folder / "ledger")
    assert ledger.epochs == [1, 2, 3, 4] and ledger.sample_ids == [] and (ledger.is_correct == -1).all()
    results = analyze(DynamicsConfig(run_dir=str(folder), output_dir=str(tmp_path / "out")))[""]
    assert list(results["groups"]["is_correct"]) == ["(none)"]
    assert pyarrow.parquet.read_table(tmp_path / "out" / "samples.parquet")["sample_id"][0].as_py() == "row 0"
    (folder / "ledger" / "epoch-002.npy").unlink()
    gapped = LossHistory.read(folder / "ledger")
    assert [epoch for epoch, _ in gapped.gains()] == [4]
    assert epoch_table(gapped)[1]["gain"] is None
