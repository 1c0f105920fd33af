"""Weights as the trainer recorded them, of any weighting: tables, files and the terminal against plain loops."""

import json
import statistics

import numpy as np
import pyarrow.parquet
import pytest

from glow_trl.analysis.dynamics import main
from glow_trl.analysis.weights import RunWeighting, token_table
from glow_trl.data.loss_history import LossHistory, TokenWeights, write_token_weights, write_weights
from helpers.sft_folders import made_up, write_sft_folder


OWN = {"weighting": "my_weightings.gentle", "weighting_kwargs": {"min_weight": 0.1, "max_weight": 1.1}}


def test_any_weighting_is_shown_as_recorded(tmp_path, capsys):
    """Nothing of the user's is imported for it: the module of this weighting does not exist."""
    losses, rows = made_up(samples=90, epochs=3)
    folder = write_sft_folder(tmp_path / "sft", losses, rows, OWN)
    rng = np.random.default_rng(1)
    recorded = np.clip(0.6 + rng.standard_normal(losses.shape), 0.1, 1.1).astype(np.float32)
    recorded[:, 40:50] = 0
    recorded[np.isnan(losses)] = np.nan
    for epoch, weights in enumerate(recorded, start=1):
        write_weights(folder / "ledger", epoch, weights)
    main([str(folder), "--long", "true"])
    printed = capsys.readouterr().out
    assert "weighting: my_weightings.gentle, min_weight 0.1, max_weight 1.1" in printed and "dropped" in printed

    results = json.loads((folder / "dynamics" / "dynamics.json").read_text())
    for label, good in (("positive", True), ("negative", False)):
        for epoch, row in enumerate(results["groups"]["is_correct"][label]):
            known = [
                w for w, r in zip(recorded[epoch].tolist(), rows, strict=True) if r["is_correct"] is good and w == w
            ]
            assert row["weight"] == pytest.approx(statistics.fmean(known))
            assert row["dropped"] == pytest.approx(known.count(0) / len(known)) and row["dropped"] > 0
            assert row["at_min"] == pytest.approx(sum(w <= np.float32(0.1) for w in known) / len(known))
            assert row["at_max"] == pytest.approx(sum(w == np.float32(1.1) for w in known) / len(known))
            effective = sum(known) ** 2 / (len(known) * sum(w * w for w in known))
            assert row["effective_sample_size"] == pytest.approx(effective)
    table = pyarrow.parquet.read_table(folder / "dynamics" / "samples.parquet").to_pylist()
    for index, row in enumerate(table):
        expected = recorded[1, index].item()
        assert row["weight_epoch_2"] == (None if expected != expected else expected)


def test_weights_of_tokens_by_label_and_position(tmp_path, capsys):
    """From bins as the trainer fills them: means exactly, quantiles up to a bin, zeros and bounds exactly."""
    rng = np.random.default_rng(2)
    below = [float(np.nextafter(np.float32(value), np.float32(-1))) for value in (0, 0.2, 1.8)]
    boundaries = np.sort([*below, *np.float32([0, 0.2, 1.8]), *np.linspace(0.1, 1.7, 17) + 0.01])
    values = np.clip(np.arange(10)[:, None] * 0.15 + rng.random((2, 10, 300)), 0.2, 1.8).astype(np.float32)
    values[1, :, :30] = 0
    bins = np.searchsorted(boundaries, values)
    counts = np.zeros((3, 10, len(boundaries) + 1), dtype=int)
    for label, position in np.ndindex(2, 10):
        counts[label, position] = np.bincount(bins[label, position], minlength=len(boundaries) + 1)
    losses, rows = made_up(samples=30, epochs=2)
    folder = write_sft_folder(tmp_path / "sft", losses, rows, {"weighting": "iw_sft_token"} | _kwargs(0.2, 1.8))
    write_weights(folder / "ledger", 2, np.ones(30))
    sums = np.zeros((3, 10))
    sums[:2] = values.sum(2, dtype=float)
    write_token_weights(folder / "ledger", 2, boundaries, counts, sums)

    history = LossHistory.read(folder / "ledger")
    assert list(history.token_weights) == [2]
    table = token_table(history.token_weights[2], RunWeighting.from_config(_kwargs(0.2, 1.8)))
    assert set(table) == {"positive", "negative"}
    for label, name in enumerate(("negative", "positive")):
        for position, row in enumerate(table[name]):
            own = values[label, position].astype(float)
            assert (row["position"], row["tokens"]) == (position + 1, 300)
            assert row["weight"] == pytest.approx(own.mean())
            assert row["dropped"] == pytest.approx((own == 0).mean())
            assert row["at_min"] == pytest.approx((own == float(np.float32(0.2))).mean())
            assert row["at_max"] == pytest.approx((own == float(np.float32(1.8))).mean())
            for key, share in (("q25", 0.25), ("median", 0.5), ("q95", 0.95)):
                assert row[f"weight_{key}"] == pytest.approx(np.quantile(own, share), abs=0.11)
    main([str(folder)])
    printed = capsys.readouterr().out
    assert "mean weight of tokens in epoch 2" in printed and "100 %" in printed
    written = json.loads((folder / "dynamics" / "dynamics.json").read_text())
    assert written["token_weights"] == {"2": table}
    assert all(row["at_min"] is None for row in written["groups"]["all"]["all"])  # a sample's weight is a mean


def _kwargs(low: float, high: float) -> dict:
    return {"weighting": "iw_sft_token", "weighting_kwargs": {"min_weight": low, "max_weight": high}}


def test_a_product_has_a_name_and_the_parameters_of_all():
    weighting = RunWeighting.from_config(
        {"weighting": ["glow", "my.own"], "glow_alpha": 2.0, "weighting_kwargs": {"my.own": {"max_weight": 3}}}
    )
    assert weighting.name == "glow × my.own" and weighting.bounds == (None, None)
    assert weighting.parameters["glow.alpha"] == 2.0 and weighting.parameters["my.own.max_weight"] == 3


def test_files_that_a_killed_run_left_unfinished_are_passed_over(tmp_path):
    losses, rows = made_up(samples=10, epochs=2)
    ledger = write_sft_folder(tmp_path / "sft", losses, rows) / "ledger"
    write_weights(ledger, 1, np.ones(10))
    (ledger / "weights-002.npy").write_bytes((ledger / "weights-001.npy").read_bytes()[:100])
    boundaries = np.array([0.0, 1.0])
    write_token_weights(ledger, 1, boundaries, np.ones((3, 10, 3)), np.ones((3, 10)))
    (ledger / "token-weights-002.npz").write_bytes((ledger / "token-weights-001.npz").read_bytes()[:100])
    history = LossHistory.read(ledger)
    assert list(history.weights) == list(history.token_weights) == [1] and history.epochs == [1, 2]
    read = history.token_weights[1]
    assert isinstance(read, TokenWeights) and read.counts.dtype == np.int64
    np.testing.assert_array_equal(read.boundaries, boundaries)
