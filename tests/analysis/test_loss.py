"""Loss of a checkpoint on a file of trajectories: GLOW's own losses, brute force, memory, a kill, and mistakes."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from glow_trl.analysis import loss as loss_module
from glow_trl.analysis.loss import main
from glow_trl.analysis.loss_config import LossConfig
from glow_trl.analysis.loss_samples import TrainedAs, tokenize
from glow_trl.data.append_log import AppendLog
from glow_trl.data.log_probs import decode_log_probs, decode_token_ids
from glow_trl.data.table import load_table
from glow_trl.errors import UserError
from glow_trl.generation.loading import load_model, load_tokenizer
from helpers.processes import kill_when


def trajectories(count: int = 24, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        length = int(rng.integers(2, 30))
        completion = "".join(rng.choice(list("0123456789+=;: ab"), length))
        rows.append(
            {
                "sample_id": f"t{index}",
                "problem": f"g={index // 3}; h+1; h=?",
                "completion": completion,
                "is_correct": index % 3 > 0,
                "source": "abc"[index % 2],
            }
        )
    return rows


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "held_out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in trajectories()))
    return path


def measured(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def brute_force(model_dir: str, rows: list[dict], max_length=None, system=None) -> list[float]:
    """The mean of [`brute_force_tokens`]."""
    picked = [log_probs for _, log_probs in brute_force_tokens(model_dir, rows, max_length, system)]
    return [float(-np.mean(log_probs)) if len(log_probs) else None for log_probs in picked]


def brute_force_tokens(model_dir: str, rows: list[dict], max_length=None, system=None) -> list[tuple[list, list]]:
    """Targets and their log-probabilities: one sequence at a time, full logits, in float64 from the softmax on."""
    model, tokenizer = load_model(model_dir, "float32"), load_tokenizer(model_dir)
    found = []
    for row in rows:
        prompt = [{"role": "user", "content": row["problem"]}]
        prompt = prompt if system is None else [{"role": "system", "content": system}, *prompt]
        start = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))
        whole = [*prompt, {"role": "assistant", "content": row["completion"]}]
        ids = torch.tensor(tokenizer.apply_chat_template(whole, return_dict=False)[:max_length])
        with torch.no_grad():
            log_probs = model(ids[None]).logits[0].double().log_softmax(-1)
        picked = log_probs[:-1].gather(1, ids[1:, None])[start - 1 :, 0]
        found.append((ids[start:].tolist(), picked.tolist()))
    return found


def check_trajectories(folder, model_dir: str, max_length=None) -> None:
    """The input rows as they are, with the log-probabilities of the targets."""
    written = [json.loads(line) for line in (folder / "trajectories.jsonl").read_text().splitlines()]
    expected = brute_force_tokens(model_dir, trajectories(), max_length)
    for row, given, (ids, log_probs) in zip(written, trajectories(), expected, strict=True):
        assert given.items() <= row.items() and len(row) == len(given) + 2
        assert decode_token_ids(row["completion_ids"]).tolist() == ids
        assert decode_log_probs(row["log_probs"]) == pytest.approx(log_probs, abs=3e-4)


def test_losses_are_those_of_brute_force_by_label_and_column(tiny_model, data, tmp_path, capsys):
    main(["--model_name_or_path", tiny_model, "--dataset_name", str(data), "--output_dir", str(tmp_path / "out")])
    rows = measured(tmp_path / "out")
    expected = brute_force(tiny_model, trajectories())
    assert [row["sample_id"] for row in rows] == [f"t{index}" for index in range(24)]
    assert [row["loss"] for row in rows] == pytest.approx(expected, abs=1e-5)
    groups = json.loads((tmp_path / "out" / "results.json").read_text())["groups"]
    labels = np.array([row["is_correct"] for row in trajectories()])
    values, tokens = np.array(expected), np.array([row["n_tokens"] for row in rows])
    assert set(groups) == {"all", "is_correct", "source"}
    for group, mask in (("positive", labels), ("negative", ~labels)):
        found = groups["is_correct"][group]
        assert found["loss"] == pytest.approx(values[mask].mean(), abs=1e-5)
        assert found["token_loss"] == pytest.approx(np.average(values[mask], weights=tokens[mask]), abs=1e-5)
        assert found["loss_ci"][0] < found["loss"] < found["loss_ci"][1]
        assert (found["samples"], found["problems"]) == (mask.sum(), 8)
    assert groups["source"]["b"]["loss"] == pytest.approx(values[1::2].mean(), abs=1e-5)
    assert "by source" in capsys.readouterr().out


def test_losses_are_the_ledgers_of_a_real_training_run(tiny_model, data, tmp_path):
    """Trained at a learning rate of zero, the ledger holds the untrained model's loss of each sample: prompt, chat
    template, end token, truncation and targets must be the same to agree. The checkpoint says how it was prompted."""
    from glow_trl.sft import main as sft

    settings = {
        "model_name_or_path": tiny_model,
        "dataset_name": str(data),
        "output_dir": str(tmp_path / "sft"),
        "system_prompt": "be exact",
        "prompt_template": "Q: {problem}",
        "max_length": 40,
        "learning_rate": 0.0,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 5,
        "report_to": "none",
        "save_strategy": "no",
    }
    argv = [token for key, value in settings.items() for token in (f"--{key}", str(value))]
    sft([*argv, "--use_cpu", "--bf16", "false", "--gradient_checkpointing", "false"])
    ledger = np.load(tmp_path / "sft" / "ledger" / "epoch-002.npy")
    out = tmp_path / "out"
    main(["--model_name_or_path", str(tmp_path / "sft"), "--dataset_name", str(data), "--output_dir", str(out)])
    found = [row["loss"] for row in measured(out)]
    assert np.array([np.nan if loss is None else loss for loss in found]) == pytest.approx(
        ledger, abs=2e-6, nan_ok=True
    )
    results = json.loads((out / "results.json").read_text())
    assert results["prompting"] == {
        "system_prompt": "be exact",
        "prompt_template": "Q: {problem}",
        "max_length": 40,
        "completion_only": True,
    }
    assert any(row["n_tokens"] < 20 for row in measured(out))


def test_a_run_that_does_not_say_how_long_its_samples_were(tmp_path):
    """Is not taken for one with today's default."""
    config = {"dataset_name": ["x.jsonl"], "model_name_or_path": str(tmp_path), "output_dir": "o"}
    (tmp_path / "run.json").write_text(json.dumps({"stage": "sft", "config": {}}))
    with pytest.raises(UserError, match="run.json is of an older version .* set max_length"):
        TrainedAs.of(LossConfig(**config))
    assert TrainedAs.of(LossConfig(**config, max_length=7)).max_length == 7


def test_a_cut_leaves_samples_without_a_target_out_and_counts_them(tiny_model, data, tmp_path):
    common = ["--model_name_or_path", tiny_model, "--dataset_name", str(data)]
    tokenizer = load_tokenizer(tiny_model)
    samples = tokenize(load_table(str(data)), tokenizer, TrainedAs(None, None, None, True))
    lengths = [len(prompt) for prompt in samples["prompt"]]
    cut = sorted(lengths)[0] + 4
    main([*common, "--output_dir", str(tmp_path / "out"), "--max_length", str(cut)])
    expected = brute_force(tiny_model, trajectories(), cut)
    rows = measured(tmp_path / "out")
    assert [row["loss"] for row in rows] == [
        None if loss is None else pytest.approx(loss, abs=1e-5) for loss in expected
    ]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["without_target"] == sum(loss is None for loss in expected)
    with pytest.raises(UserError, match="raise max_length"):
        main([*common, "--output_dir", str(tmp_path / "none"), "--max_length", "2"])


def test_small_batches_give_the_same_and_the_logits_are_never_built(tiny_model, data, tmp_path, monkeypatch):
    from torch.overrides import TorchFunctionMode

    vocabulary = len(load_tokenizer(tiny_model))
    common = ["--model_name_or_path", tiny_model, "--dataset_name", str(data)]
    main([*common, "--output_dir", str(tmp_path / "one"), "--batch_size", "1"])
    largest = 0

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.ndim >= 3 and result.shape[-1] == vocabulary:
                largest = max(largest, result.numel())
            return result

    with Watch():
        main([*common, "--output_dir", str(tmp_path / "all"), "--batch_tokens", "300"])
    assert largest == 0
    one, many = measured(tmp_path / "one"), measured(tmp_path / "all")
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in many], abs=1e-6)


@pytest.mark.parametrize("cut", [False, True])
def test_log_probs_of_each_target_are_written_with_the_rows(tiny_model, data, tmp_path, cut):
    tokenizer = load_tokenizer(tiny_model)
    samples = tokenize(load_table(str(data)), tokenizer, TrainedAs(None, None, None, True))
    max_length = min(map(len, samples["prompt"])) + 1 if cut else None
    # What the rows bring of their own is another model's
    rows = [row | {"log_probs": "AAAA", "completion_ids": [1, 2]} for row in trajectories()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = ["--model_name_or_path", tiny_model, "--dataset_name", str(data), "--output_dir", str(tmp_path / "out")]
    main([*argv, "--write_log_probs", "true", *(["--max_length", str(max_length)] if cut else [])])
    check_trajectories(tmp_path / "out", tiny_model, max_length)
    losses = [row["loss"] for row in measured(tmp_path / "out")]
    assert [loss or 0 for loss in losses] == pytest.approx(
        [loss or 0 for loss in brute_force(tiny_model, trajectories(), max_length)], abs=1e-5
    )


def test_log_probs_of_a_whole_sequence_begin_at_its_second_token(tiny_model, data, tmp_path):
    """As a checkpoint was trained that also learned the prompts."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "run.json").write_text(
        json.dumps({"stage": "sft", "config": {"max_length": None, "completion_only_loss": False}})
    )
    argv = ["--model_name_or_path", str(model), "--dataset_name", str(data), "--output_dir", str(tmp_path / "out")]
    main([*argv, "--write_log_probs", "true"])
    rows = [json.loads(line) for line in (tmp_path / "out" / "trajectories.jsonl").read_text().splitlines()]
    whole = tokenize(load_table(str(data)), load_tokenizer(tiny_model), TrainedAs(None, None, None, False))["targets"]
    for row, ids, loss in zip(rows, whole, measured(tmp_path / "out"), strict=True):
        assert decode_token_ids(row["completion_ids"]).tolist() == ids
        first, *others = decode_log_probs(row["log_probs"])
        assert np.isnan(first) and -np.mean(others) == pytest.approx(loss["loss"], abs=3e-4)


class PowerCut(BaseException):
    """Ends a run wherever it is."""


def test_log_probs_of_a_run_that_was_complete_without_them(tiny_model, data, tmp_path, monkeypatch):
    """Are measured, from where a start that was ended had come; other columns then cost no forward pass."""
    out = tmp_path / "out"
    argv = ["--model_name_or_path", tiny_model, "--dataset_name", str(data), "--output_dir", str(out)]
    argv += ["--batch_size", "3"]
    main(argv)
    losses = measured(out)
    append, calls = AppendLog.append, []

    def dying(self, *rows):
        calls.append(len(rows))
        if len(calls) == 4:
            raise PowerCut
        append(self, *rows)

    monkeypatch.setattr(AppendLog, "append", dying)
    with pytest.raises(PowerCut):
        main([*argv, "--write_log_probs", "true"])
    monkeypatch.undo()
    assert not (out / "trajectories.jsonl").exists() and measured(out) == losses
    counted = []
    original = loss_module._measured
    monkeypatch.setattr(loss_module, "_measured", lambda *given: (counted.append(len(given[1])), original(*given))[1])
    main([*argv, "--write_log_probs", "true"])
    assert counted == [24 - 9]
    check_trajectories(out, tiny_model)
    assert measured(out) == losses
    monkeypatch.setattr(LossConfig, "load_model", None)
    written = (out / "trajectories.jsonl").read_bytes()
    main([*argv, "--write_log_probs", "true", "--by", "is_correct+source"])
    assert (out / "trajectories.jsonl").read_bytes() == written


@pytest.mark.slow
def test_a_killed_run_goes_on_and_measures_nothing_twice(tiny_model, data, tmp_path):
    out = tmp_path / "out"
    argv = ["--model_name_or_path", tiny_model, "--dataset_name", str(data), "--output_dir", str(out)]
    argv += ["--batch_size", "1", "--write_log_probs", "true"]
    slow = (
        "import sys, time; from glow_trl.data import append_log as log; from glow_trl.analysis import loss;"
        "append = log.AppendLog.append;"
        "log.AppendLog.append = lambda self, *rows: (append(self, *rows), time.sleep(0.1));"
        "loss.main(sys.argv[1:])"
    )
    work = out / "losses.work.jsonl"
    kill_when(lambda: work.exists() and work.read_bytes().count(b"\n") >= 5, [sys.executable, "-c", slow, *argv])
    saved = work.read_bytes()
    done = saved.count(b"\n")
    assert 5 <= done < 24 and json.loads((out / "run.json").read_text())["status"] == "running"
    work.write_bytes(saved + b'{"row": 3, "lo')
    counted = []
    original = loss_module._measured

    def count(config, samples):
        counted.append(len(samples))
        return original(config, samples)

    loss_module._measured = count
    try:
        main(argv)
    finally:
        loss_module._measured = original
    assert counted == [24 - done]
    check_trajectories(out, tiny_model)
    assert [row["loss"] for row in measured(out)] == pytest.approx(brute_force(tiny_model, trajectories()), abs=1e-5)
    assert not work.exists()


def test_a_complete_run_is_left_and_other_columns_cost_no_forward_pass(tiny_model, data, tmp_path, monkeypatch):
    argv = ["--model_name_or_path", tiny_model, "--dataset_name", str(data), "--output_dir", str(tmp_path / "out")]
    main(argv)
    before = (tmp_path / "out" / "losses.jsonl").stat().st_mtime_ns
    monkeypatch.setattr(LossConfig, "load_model", None)
    main(argv)
    assert (tmp_path / "out" / "losses.jsonl").stat().st_mtime_ns == before
    main([*argv, "--by", "is_correct+source"])
    groups = json.loads((tmp_path / "out" / "results.json").read_text())["groups"]
    assert len(groups["is_correct+source"]) == 4
    with pytest.raises(UserError, match="differs in max_length"):
        main([*argv, "--max_length", "30"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--dataset_name", "{data}"], "model_name_or_path is not set"),
        (["--model_name_or_path", "{model}"], "dataset_name is required"),
        (["--model_name_or_path", "{model}", "--dataset_name", "{data}"], "output_dir is not set"),
        (["--model_name_or_path", "/no/such", "--dataset_name", "{data}", "--output_dir", "{out}"], "no folder"),
        (
            ["--model_name_or_path", "{model}", "--dataset_name", "{out}.jsonl", "--output_dir", "{out}"],
            "cannot be read",
        ),
        (
            ["--model_name_or_path", "{model}", "--dataset_name", "{data}", "--output_dir", "{out}", "--by", "lvl"],
            "no column 'lvl'",
        ),
    ],
)
def test_mistakes_are_named_in_one_line(tiny_model, data, tmp_path, argv, message):
    values = {"data": data, "model": tiny_model, "out": tmp_path / "out"}
    with pytest.raises(UserError, match=message):
        main([token.format(**values) for token in argv])


def test_the_configuration_is_checked():
    good = {"dataset_name": ["x.jsonl"], "model_name_or_path": "m", "output_dir": "o"}
    for name, value in (("batch_size", 0), ("batch_tokens", 0), ("max_length", -1), ("most_values", 1)):
        with pytest.raises(UserError, match=name):
            LossConfig(**good, **{name: value})
