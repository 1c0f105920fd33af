"""The kinds of data sets that GLOWTrainer takes, and who is who in them."""

import pytest
import torch
from datasets import Dataset, concatenate_datasets
from transformers import AutoTokenizer

from helpers.glow_cases import logged, make_trainer, text_rows, token_rows


STEP = {"per_device_train_batch_size": 32, "num_train_epochs": 2, "learning_rate": 0.0}


def sample_losses(model, path, rows, **settings):
    trainer = make_trainer(model, path, rows, **{**STEP, **settings})
    trainer.train()
    return trainer.ledger.current


def losses_of(model_path, samples) -> torch.Tensor:
    """Mean loss of each of (token ids, number of leading tokens that are no target), with full logits."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float64)
    losses = []
    for ids, prompt in samples:
        log_probs = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        picked = log_probs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
        losses.append(-picked[max(prompt - 1, 0) :].mean())
    return torch.stack(losses).detach()


def check(found, expected):
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.mark.parametrize("layout", [{}, {"packing": True, "max_length": 96}], ids=["padded", "packed"])
class TestFormats:
    def test_prompt_completion(self, tiny_model, tmp_path, tokenizer, layout):
        """Plain text; the loss is that of the completion and the end token unless told otherwise."""
        rows = text_rows(8)
        prompts = [tokenizer(row["prompt"])["input_ids"] for row in rows]
        whole = [tokenizer(row["prompt"] + row["completion"] + tokenizer.eos_token)["input_ids"] for row in rows]
        samples = [(ids, len(prompt)) for ids, prompt in zip(whole, prompts, strict=True)]
        check(sample_losses(tiny_model, tmp_path, rows, **layout), losses_of(tiny_model, samples))
        found = sample_losses(tiny_model, tmp_path, rows, completion_only_loss=False, **layout)
        check(found, losses_of(tiny_model, [(ids, 0) for ids in whole]))

    def test_conversational(self, tiny_model, tmp_path, tokenizer, layout):
        """Messages, rendered by the chat template."""
        rows = [
            {
                "prompt": [{"role": "system", "content": "be brief"}, {"role": "user", "content": row["prompt"]}],
                "completion": [{"role": "assistant", "content": row["completion"]}],
                "is_correct": True,
            }
            for row in text_rows(8)
        ]
        samples = []
        for row in rows:
            prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
            text = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
            samples.append((tokenizer(text)["input_ids"], len(tokenizer(prompt)["input_ids"])))
        check(sample_losses(tiny_model, tmp_path, rows, **layout), losses_of(tiny_model, samples))

    def test_language_modeling(self, tiny_model, tmp_path, tokenizer, layout):
        """Text without a prompt: every token but the first is a target."""
        rows = [{"text": row["prompt"] + row["completion"]} for row in text_rows(8)]
        samples = [(tokenizer(row["text"] + tokenizer.eos_token)["input_ids"], 0) for row in rows]
        check(sample_losses(tiny_model, tmp_path, rows, **layout), losses_of(tiny_model, samples))

    def test_assistant_only(self, tiny_model, tmp_path, tokenizer, layout):
        """Several turns, with the loss on those of the assistant."""
        rows = []
        for first, second in zip(text_rows(6), text_rows(6, seed=1), strict=True):
            turns = [("user", first["prompt"]), ("assistant", first["completion"])]
            turns += [("user", second["prompt"]), ("assistant", second["completion"])]
            rows.append({"messages": [{"role": role, "content": content} for role, content in turns]})
        found = sample_losses(tiny_model, tmp_path, rows, assistant_only_loss=True, **layout)
        tokenized = []
        for row in rows:
            ids, labels = [], []
            for index, message in enumerate(row["messages"]):
                head = "\n" * (index > 0) + f"<|im_start|>{message['role']}\n"
                body = message["content"] + "<|im_end|>"
                for text, is_target in ((head, False), (body, message["role"] == "assistant")):
                    tokens = tokenizer(text)["input_ids"]
                    ids += tokens
                    labels += tokens if is_target else [-100] * len(tokens)
            tokenized.append({"input_ids": ids, "labels": labels})
        check(found, sample_losses(tiny_model, tmp_path, tokenized).double())
        everything = sample_losses(tiny_model, tmp_path, rows, **layout)
        assert (found - everything).abs().max() > 1e-3

    def test_tokenized(self, tiny_model, tmp_path, layout):
        """Token ids alone, with labels, or with a mask of the completion: three ways to say the same."""
        rows = token_rows(8)
        prompts = [sum(label == -100 for label in row["labels"]) for row in rows]
        samples = [(row["input_ids"], prompt) for row, prompt in zip(rows, prompts, strict=True)]
        check(sample_losses(tiny_model, tmp_path, rows, **layout), losses_of(tiny_model, samples))
        masked = [
            {"input_ids": ids, "completion_mask": [0] * prompt + [1] * (len(ids) - prompt)} for ids, prompt in samples
        ]
        found = sample_losses(tiny_model, tmp_path, masked, completion_only_loss=True, **layout)
        check(found, losses_of(tiny_model, samples))
        everything = [{"input_ids": ids} for ids, _ in samples]
        found = sample_losses(tiny_model, tmp_path, everything, **layout)
        check(found, losses_of(tiny_model, [(ids, 0) for ids, _ in samples]))


def test_concatenated_data_sets_do_not_collide(tiny_model, tmp_path):
    """Two data sets with the same ids of their own: each sample has a loss of its own."""
    first = Dataset.from_list(token_rows(6)).add_column("sample_id", list(range(6)))
    second = Dataset.from_list(token_rows(6, seed=1)).add_column("sample_id", list(range(6)))
    trainer = make_trainer(tiny_model, tmp_path, concatenate_datasets([first, second]), **STEP)
    trainer.train()
    assert sorted(trainer.train_dataset["sample_id"]) == list(range(12)) and len(trainer.ledger) == 12
    check(trainer.ledger.current[:6], sample_losses(tiny_model, tmp_path, token_rows(6)).double())
    check(trainer.ledger.current[6:], sample_losses(tiny_model, tmp_path, token_rows(6, seed=1)).double())


def test_own_ids_of_any_type(tiny_model, tmp_path):
    """A text column `sample_id` is no obstacle."""
    rows = [{**row, "sample_id": f"gsm8k-{index}"} for index, row in enumerate(token_rows(6))]
    check(sample_losses(tiny_model, tmp_path, rows), sample_losses(tiny_model, tmp_path, token_rows(6)).double())


@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
def test_ids_survive_dropped_rows(tiny_model, tmp_path, mode):
    """Rows that truncation leaves without a target have no loss, and the others keep their place."""
    rows = token_rows(20)
    found = sample_losses(tiny_model, tmp_path, rows, max_length=10, truncation_mode=mode)
    cut = slice(None, 10) if mode == "keep_start" else slice(-10, None)
    for row, loss in zip(rows, found, strict=True):
        ids, labels = row["input_ids"][cut], row["labels"][cut]
        prompt = sum(label == -100 for label in labels)
        if all(label == -100 for label in labels[1:]):
            assert loss.isnan()
        else:
            check(loss[None], losses_of(tiny_model, [(ids, prompt)]))
    assert bool(found.isnan().any()) == (mode == "keep_start")


def test_samples_without_a_target(tiny_model, tmp_path):
    """Empty ones and those with masked labels are left out, and do not shift the others in a padding-free batch."""
    rows = token_rows(6)
    odd = [
        {"input_ids": [], "labels": []},
        {"input_ids": [5], "labels": [5]},
        {"input_ids": [5, 6], "labels": [5, -100]},
    ]
    mixed = [*rows[:2], odd[0], *rows[2:4], odd[1], odd[2], *rows[4:]]
    mixed = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in mixed]
    expected = sample_losses(tiny_model, tmp_path, rows).double()
    for layout in ({}, {"padding_free": True}, {"packing": True, "max_length": 64}, {"max_length": 64}):
        found = sample_losses(tiny_model, tmp_path, mixed, **layout)
        assert found.isnan().nonzero().flatten().tolist() == [2, 5, 6]
        check(found[~found.isnan()], expected)


def test_data_set_with_a_format(tiny_model, tmp_path):
    """A format that shows some columns only, or that gives tensors."""
    expected = sample_losses(tiny_model, tmp_path, token_rows(6)).double()
    dataset = Dataset.from_list(token_rows(6))
    for formatted in (
        dataset.with_format("torch"),
        dataset.with_format("numpy", columns=["input_ids", "labels"]),
        dataset.with_format(columns=["input_ids", "labels"]),
    ):
        check(sample_losses(tiny_model, tmp_path, formatted), expected)


def test_unused_columns_may_stay(tiny_model, tmp_path):
    check(
        sample_losses(tiny_model, tmp_path, token_rows(6), remove_unused_columns=False),
        sample_losses(tiny_model, tmp_path, token_rows(6)).double(),
    )


def test_positives_and_negatives_apart(tiny_model, tmp_path):
    """The column `is_correct` splits the metrics of an epoch."""
    rows = token_rows(9)
    trainer = make_trainer(tiny_model, tmp_path, rows, num_train_epochs=3, logging_steps=50)
    trainer.train()
    right = torch.tensor([row["is_correct"] for row in rows])
    ledger = trainer.ledger
    assert logged(trainer, "glow/epoch") == [1, 2, 3], "an epoch's metrics are lost where logs are rare"
    assert logged(trainer, "glow/epoch_loss_positive")[-1] == pytest.approx(ledger.current[right].mean().item())
    assert logged(trainer, "glow/epoch_loss_negative")[-1] == pytest.approx(ledger.current[~right].mean().item())
    assert logged(trainer, "glow/epoch_gain_positive")[-1] == pytest.approx(ledger.gain[right].mean().item())
    assert logged(trainer, "glow/epoch_loss")[-2] == pytest.approx(ledger.previous.mean().item())


class TestEvaluation:
    SETTINGS = {"per_device_eval_batch_size": 4, "eval_strategy": "epoch", "per_device_train_batch_size": 4}

    @pytest.mark.parametrize("reduction", ["sample", "token"])
    @pytest.mark.parametrize(
        "layout",
        [
            {},
            {"padding_free": True},
            {"padding_free": True, "pad_to_multiple_of": 16},
            {"packing": True, "max_length": 99},
        ],
        ids=str,
    )
    def test_loss(self, tiny_model, tmp_path, reduction, layout):
        """The evaluation loss is unweighted, over samples or over tokens as in training, and no visit of a sample."""
        evaluation = token_rows(4, seed=3)
        trainer = make_trainer(
            tiny_model,
            tmp_path,
            token_rows(8),
            eval_dataset=Dataset.from_list(evaluation),
            loss_reduction=reduction,
            learning_rate=0.0,
            **{**self.SETTINGS, **layout},
        )
        trainer.train()
        prompts = [sum(label == -100 for label in row["labels"]) for row in evaluation]
        counts = torch.tensor(
            [len(row["input_ids"]) - max(prompt, 1) for row, prompt in zip(evaluation, prompts, strict=True)]
        )
        samples = [(row["input_ids"], prompt) for row, prompt in zip(evaluation, prompts, strict=True)]
        losses = losses_of(tiny_model, samples)
        expected = losses.mean() if reduction == "sample" else (losses * counts).sum() / counts.sum()
        assert logged(trainer, "eval_loss") == pytest.approx([expected.item()] * 3, abs=1e-5)
        assert len(trainer.ledger) == 8 and not trainer.ledger.current.isnan().any()

    def test_several_sets_with_ids_of_their_own(self, tiny_model, tmp_path):
        """A dictionary, one of whose sets is called "train"; rows with ids that are text or numbers, and none."""
        rows = token_rows(5, seed=3)
        sets = {
            "train": Dataset.from_list(token_rows(8)),
            "text": Dataset.from_list([{**row, "sample_id": f"row-{index}"} for index, row in enumerate(rows)]),
            "numbers": Dataset.from_list([{**row, "sample_id": 10**9} for row in rows]),
            "none": Dataset.from_list(rows),
        }
        for layout in ({}, {"packing": True, "max_length": 64}):
            trainer = make_trainer(
                tiny_model, tmp_path, token_rows(8), eval_dataset=sets, **{**self.SETTINGS, **layout}
            )
            trainer.train()
            assert len(logged(trainer, "eval_train_loss")) == 3
            assert logged(trainer, "eval_text_loss") == logged(trainer, "eval_none_loss")
            assert logged(trainer, "eval_numbers_loss") == logged(trainer, "eval_none_loss")
            assert trainer.evaluate(sets["text"])["eval_loss"] == pytest.approx(logged(trainer, "eval_text_loss")[-1])

    def test_does_not_disturb_training(self, tiny_model, tmp_path):
        """With and without evaluation in the middle of epochs: same ledger."""
        settings = {"per_device_train_batch_size": 2, "logging_steps": 1}
        without = make_trainer(tiny_model, tmp_path, token_rows(9), **settings)
        without.train()
        evaluation = Dataset.from_list(token_rows(5, seed=3))
        often = {"eval_strategy": "steps", "eval_steps": 2, "eval_on_start": True}
        trainer = make_trainer(tiny_model, tmp_path, token_rows(9), eval_dataset=evaluation, **settings, **often)
        trainer.train()
        assert torch.equal(trainer.ledger.current, without.ledger.current)
        assert logged(trainer, "glow/mean_weight") == logged(without, "glow/mean_weight")
