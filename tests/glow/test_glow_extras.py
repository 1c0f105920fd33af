"""What users do with trainers beyond one straight run."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Qwen2MoeConfig, Qwen2MoeForCausalLM
from trl import SFTConfig, SFTTrainer

from glow_trl.errors import UserError
from helpers.glow_cases import WEIGHTS, logged, make_trainer, parameters, token_rows


ROWS = token_rows(12)
BATCH = {"per_device_train_batch_size": 4, **WEIGHTS}


def test_train_on_for_more_epochs(tiny_model, tmp_path):
    """A finished run stays as it is; with more epochs it goes on where it ended, with the gains of its last epoch."""
    saving = {"save_strategy": "epoch", **BATCH}
    finished = make_trainer(tiny_model, tmp_path, ROWS, **saving)
    finished.train()
    again = make_trainer(tiny_model, tmp_path, ROWS, **saving)
    again.train(resume_from_checkpoint=True)
    assert torch.equal(again.ledger.current, finished.ledger.current) and again.ledger.epoch == 3
    longer = make_trainer(tiny_model, tmp_path, ROWS, num_train_epochs=5, **saving)
    longer.train(resume_from_checkpoint=True)
    straight = make_trainer(tiny_model, tmp_path / "straight", ROWS, num_train_epochs=5, **BATCH)
    straight.train()
    assert torch.equal(longer.ledger.current, straight.ledger.current) and longer.ledger.epoch == 5


@pytest.mark.parametrize("batch_size", [2, 6])
def test_resume_with_another_batch_size(tiny_model, tmp_path, batch_size, caplog):
    """
    Steps and epochs then mean other things than they did, and this is said, but the ledger goes on and no epoch is
    repeated in it. Nothing makes up for what the user changed.
    """
    make_trainer(tiny_model, tmp_path, ROWS, save_strategy="steps", save_steps=1, **BATCH).train()
    trainer = make_trainer(tiny_model, tmp_path, ROWS, **{**BATCH, "per_device_train_batch_size": batch_size})
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert f"has 4 samples in a step, and there are {batch_size} now" in caplog.text
    assert trainer.args.gradient_accumulation_steps == 1
    assert trainer.ledger.epoch >= 2 and not trainer.ledger.previous.isnan().any()


@pytest.mark.parametrize(
    ("logging", "steps", "with_loss"),
    [
        ({"logging_steps": 1}, list(range(1, 10)), list(range(1, 10))),
        ({"logging_steps": 2}, [2, 4, 6, 8, 9], [2, 4, 6, 8]),
        ({"logging_strategy": "epoch"}, [3, 6, 9], [3, 6, 9]),
    ],
    ids=["every_step", "every_other_step", "epoch"],
)
def test_weights_are_logged_with_the_loss(tiny_model, tmp_path, logging, steps, with_loss):
    """Each step in the entry that follows it, and what is left over in the last; epochs are logged besides."""
    trainer = make_trainer(tiny_model, tmp_path, ROWS, **logging, **BATCH)
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "glow/mean_weight" in entry]
    assert [entry["step"] for entry in entries] == steps
    assert [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == with_loss
    assert logged(trainer, "glow/epoch") == [1, 2, 3]
    losses = [entry["glow/sample_loss"] for entry in entries]
    mean = np.average(losses, weights=np.diff([0, *steps]))
    assert mean == pytest.approx(np.mean(logged(trainer, "glow/epoch_loss")), rel=1e-6)


def test_best_model(tiny_model, tmp_path):
    """Checkpoints may come and go, the best one is loaded in the end."""
    trainer = make_trainer(
        tiny_model,
        tmp_path,
        ROWS,
        eval_dataset=Dataset.from_list(ROWS[:5]),
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        save_total_limit=1,
        **BATCH,
    )
    trainer.train()
    best = min(logged(trainer, "eval_loss"))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(best)


def test_collator_of_the_users_own(tiny_model, tmp_path):
    """Ids travel beside whatever collator makes the batches."""
    collator = DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(tiny_model))
    own = make_trainer(tiny_model, tmp_path, ROWS, data_collator=collator, **BATCH)
    own.train()
    usual = make_trainer(tiny_model, tmp_path, ROWS, **BATCH)
    usual.train()
    torch.testing.assert_close(own.ledger.current, usual.ledger.current)


def test_mixture_of_experts(tiny_model, tmp_path):
    """The auxiliary loss is added once, unweighted, as SFTTrainer does; where it could not be, the run stops."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    def model():
        torch.manual_seed(0)
        return Qwen2MoeForCausalLM(
            Qwen2MoeConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=32,
                moe_intermediate_size=16,
                shared_expert_intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                num_experts=4,
                num_experts_per_tok=2,
                output_router_logits=True,
                router_aux_loss_coef=0.1,
            )
        )

    settings = {"processing_class": tokenizer, "logging_steps": 1, "per_device_train_batch_size": 4}
    sft = make_trainer(model(), tmp_path, ROWS, trainer=SFTTrainer, config=SFTConfig, **settings)
    sft.train()
    plain = make_trainer(model(), tmp_path, ROWS, weighting="uniform", loss_reduction="token", **settings)
    plain.train()
    a, b = parameters(sft.model), parameters(plain.model)
    assert all(torch.equal(a[name], b[name]) for name in a)
    glow = make_trainer(model(), tmp_path, ROWS, glow_normalization="mean", **settings)
    glow.train()
    for loss, sample_loss, auxiliary in zip(
        *(logged(glow, name)[:3] for name in ("loss", "glow/sample_loss", "aux_loss")), strict=True
    ):
        assert loss == pytest.approx(sample_loss + 0.1 * auxiliary, abs=1e-5)
    with pytest.raises(UserError, match="auxiliary loss"):
        make_trainer(model(), tmp_path, ROWS, glow_normalization="mean", gradient_accumulation_steps=2, **settings)
