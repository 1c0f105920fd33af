"""
One canary for each thing that the package takes of TRL, transformers and others without their promising it. When a new
release changes one, a canary's message says what of ours breaks and where it stands, before the tests of that fail in
their many ways. What is watched is the libraries as they are: none of our classes is on top.
"""

import ast
import functools
import inspect
import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pytest
import torch
from datasets import ArrowBasedBuilder, Dataset, DatasetInfo, Features, Split, SplitGenerator, Value
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    ProgressCallback,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import GRPOConfig, SFTConfig, SFTTrainer, TrlParser, pack_dataset

from helpers import leaning
from helpers.glow_cases import glow_settings, text_rows
from helpers.leaning import leanings, nodes, places, source


COVERED: set[str] = set()


def canary(*names: str, breaks: str):
    """Mark a test as the canary of some names; its failure says what `breaks`, and where it stands."""
    COVERED.update(names)

    def mark(test):
        @functools.wraps(test)
        def watched(*args, **kwargs):
            try:
                test(*args, **kwargs)
            except Exception as error:
                raise AssertionError(message(names, breaks, error)) from error

        return watched

    return mark


def message(names: tuple[str, ...], breaks: str, error: Exception) -> str:
    where = sorted({place for name in names for place in places(name)})
    what = f"{', '.join(names)}: not as before, and this breaks: {breaks}"
    return f"{what}. See {', '.join(where)}. {type(error).__name__}: {error}"


# What of a trainer ours override: the number of arguments that these pass on, and what it is for
CALLED = {
    "_prepare_dataset": (6, "samples get no numbers, so that GLOW has no loss of the epoch before"),
    "_get_num_items_in_batch": (
        2,
        "the divisor of the GLOW loss, and repeated samples count twice",
    ),
    "compute_loss": (4, "the GLOW loss"),
    "training_step": (3, "glow_normalization='mean', and a loss that is not finite no longer stops a training"),
    "get_train_dataloader": (0, "train_sampling_strategy='group_by_length' is not the same when resumed"),
    "get_batch_samples": (3, "a run that died after its last step does one more when it is resumed"),
    "log": (1, "a logged loss that is not finite does not stop a training"),
    "_get_grad_norm": (2, "a gradient that is not finite does not stop a training"),
    "_save_checkpoint": (2, "the ledger is not in checkpoints, and weights that are not finite are saved"),
    "_issue_warnings_after_load": (1, "each resume warns of missing keys where weights are tied"),
    "create_model_card": (0, "secrets may stand in a model card"),
}


class Figures(TrainerCallback):
    """Adds figures to the metrics of each step, as the weights of GLOW are."""

    def __init__(self, trainer):
        self.trainer = trainer

    def on_step_end(self, args, state, control, **kwargs):
        if control.should_log and hasattr(self.trainer, "_metrics"):
            self.trainer._metrics["train"]["made/up"] += [1.0, 3.0]


class Tokens(TrainerCallback):
    """Sets the number of tokens of a run that is resumed."""

    def __init__(self, trainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainer._total_train_tokens = 1_000_000


def recorder():
    """`SFTTrainer`, which notes the calls of the methods that ours override."""

    def record(name):
        def method(self, *args, **kwargs):
            accelerator = getattr(self, "accelerator", None)
            call = SimpleNamespace(
                args=args,
                kwargs=kwargs,
                accumulation=getattr(self, "current_gradient_accumulation_steps", None),
                sync=getattr(accelerator, "sync_gradients", None),
                last=getattr(getattr(accelerator, "gradient_state", None), "end_of_dataloader", None),
            )
            self.calls[name].append(call)
            call.result = getattr(super(Recorder, self), name)(*args, **kwargs)
            return call.result

        return method

    def init(self, *args, **kwargs):
        self.calls = defaultdict(list)
        super(Recorder, self).__init__(*args, **kwargs)

    methods = {name: record(name) for name in CALLED if hasattr(SFTTrainer, name)}
    methods |= {"__init__": init, "_name": "Canary", "_tag_names": ["a-canary"]}
    Recorder = type("Recorder", (SFTTrainer,), methods)
    return Recorder


@pytest.fixture(scope="module")
def plain(tiny_model, tmp_path_factory):
    """A run of TRL's own trainer, of 2, 2 and 1 micro-batches a step; and one that goes on after its first step."""
    folder = tmp_path_factory.mktemp("plain")
    rows = Dataset.from_list([{**row, "sample_id": index} for index, row in enumerate(text_rows(10))])
    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_train_epochs": 1}
    settings |= {"save_strategy": "steps", "save_steps": 1, "logging_steps": 1}

    def run(callback, checkpoint):
        args = SFTConfig(**glow_settings(folder, **settings))
        trainer = recorder()(tiny_model, args, train_dataset=rows, eval_dataset=rows.select(range(2)))
        trainer.add_callback(callback(trainer))
        trainer.train(resume_from_checkpoint=checkpoint)
        return trainer, {name: list(trainer.calls[name]) for name in CALLED}

    trainer, trained = run(Figures, None)
    trainer.evaluate()
    resumed, _ = run(Tokens, str(folder / "checkpoint-1"))
    calls = {name: trainer.calls[name] + resumed.calls[name] for name in CALLED}
    return SimpleNamespace(trainer=trainer, trained=trained, resumed=resumed, folder=folder, rows=rows, calls=calls)


@pytest.fixture
def trainer(plain, tiny_model, tmp_path):
    """TRL's own trainer before its training."""
    settings = glow_settings(tmp_path, per_device_train_batch_size=2)
    return SFTTrainer(tiny_model, SFTConfig(**settings), train_dataset=plain.rows)


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def override(name):
    """Our method of that name. Not imported above: what is watched may be what it cannot be imported for."""
    from glow_trl.glow.trainer import GLOWTrainer

    return next(vars(cls)[name] for cls in GLOWTrainer.__mro__ if name in vars(cls))


COVERED.update(CALLED)


@pytest.mark.parametrize("name", CALLED)
def test_trainers_call_what_ours_override(name, plain):
    number, breaks = CALLED[name]
    try:
        assert plain.calls[name], "TRL's trainer has it no more, or does not call it"
        for call in plain.calls[name]:
            inspect.signature(override(name)).bind(None, *call.args, **call.kwargs)
        inspect.signature(getattr(SFTTrainer, name)).bind(None, *range(number))
    except Exception as error:
        raise AssertionError(message((name,), breaks, error)) from error


@canary("_prepare_dataset", breaks="the column sample_id, by which GLOW knows a sample")
def test_prepared_data_keep_other_columns(plain):
    train = plain.calls["_prepare_dataset"][0]
    assert train.args[0] is plain.rows, "it is the data set that was passed, by which the training set is known"
    assert sorted(train.result["sample_id"]) == list(range(10))
    assert {"input_ids", "labels"} <= set(train.result.column_names)


@canary("_set_signature_columns_if_needed", "_signature_columns", breaks="sample ids do not reach the collator")
def test_signature_columns(trainer):
    seen = []
    trainer.data_collator = lambda examples: seen.append(examples[0].keys()) or {}
    for columns, kept in ((None, False), (["sample_id"], True)):
        trainer._signature_columns = columns
        trainer._set_signature_columns_if_needed()
        assert kept or {"input_ids", "labels", "seq_lengths"} <= set(trainer._signature_columns)
        next(iter(trainer.get_train_dataloader()))
        assert ("sample_id" in seen[-1]) is kept


@canary("_get_num_items_in_batch", breaks="the divisor of the GLOW loss")
def test_the_number_of_items_reaches_the_loss(plain):
    numbers, losses = plain.trained["_get_num_items_in_batch"], plain.trained["compute_loss"]
    assert [len(call.args[0]) for call in numbers] == [2, 2, 1] and len(losses) == 5
    signature = inspect.signature(override("compute_loss"))
    given = [signature.bind(None, *call.args, **call.kwargs).arguments["num_items_in_batch"] for call in losses]
    assert [int(number) for number in given] == [int(numbers[i].result) for i in (0, 0, 1, 1, 2)]


@canary(
    *("get_test_dataloader", "_prepare_inputs", "compute_loss_context_manager"),
    breaks="what is known of samples before a step: their initial losses, and those of the other micro-batches",
)
def test_a_forward_pass_beside_the_training(trainer):
    lengths = []
    trainer.model_wrapped.eval()
    for batch in trainer.get_test_dataloader(trainer.train_dataset):
        inputs = trainer._prepare_inputs(batch)
        with torch.no_grad(), trainer.compute_loss_context_manager():
            outputs = trainer.model_wrapped(**inputs, use_cache=False, fused_lm_head=True)
        assert outputs.log_probs.shape == outputs.entropy.shape == outputs.label_mask.shape
        lengths.append(len(outputs.log_probs))
    assert sum(lengths) == len(trainer.train_dataset), "every sample once"


@canary("current_gradient_accumulation_steps", breaks="the auxiliary loss of a mixture of experts, with accumulation")
def test_accumulation_steps_of_a_short_window(plain):
    assert [call.accumulation for call in plain.trained["compute_loss"]] == [2, 2, 2, 2, 1]


@canary("sync_gradients", "end_of_dataloader", breaks="glow_normalization='mean', and repeated samples count")
def test_what_accelerate_says_of_steps(plain):
    assert [call.sync for call in plain.trained["compute_loss"]] == [False, True, False, True, True]
    assert [call.last for call in plain.trained["_get_num_items_in_batch"]] == [False, False, True]


@canary("model_accepts_loss_kwargs", breaks="the GLOW loss is divided by the accumulation steps once more")
def test_a_loss_is_not_scaled_again(plain):
    assert plain.trainer.model_accepts_loss_kwargs is True
    steps, losses = plain.trained["training_step"], plain.trained["compute_loss"]
    assert [step.result.item() for step in steps] == [loss.result.item() for loss in losses]


@canary("get_batch_samples", breaks="a run that died after its last step does one more when it is resumed")
def test_no_batches_end_a_training(plain, tiny_model, tmp_path):
    class Ending(SFTTrainer):
        def get_batch_samples(self, epoch_iterator, num_batches, device):
            if self.state.global_step >= 1:
                self.control.should_training_stop = True
                return [], None
            return super().get_batch_samples(epoch_iterator, num_batches, device)

    settings = glow_settings(tmp_path, per_device_train_batch_size=2, num_train_epochs=1)
    trainer = Ending(tiny_model, SFTConfig(**settings), train_dataset=plain.rows)
    trainer.train()
    assert trainer.state.global_step == 1


@canary("_get_grad_norm", breaks="a gradient that is not finite does not stop a training")
def test_the_norm_is_asked_for_each_step_also_without_clipping(plain):
    norms = [float(call.result) for call in plain.trained["_get_grad_norm"]]
    assert plain.trainer.args.max_grad_norm == 0 and len(norms) == 3
    assert norms == pytest.approx(logged(plain.trainer, "grad_norm"))


@canary("_save_checkpoint", "trainer_state.json", breaks="unfinished checkpoints are taken for whole ones")
def test_the_state_is_written_last(plain):
    files = [path for path in (plain.folder / "checkpoint-2").iterdir() if path.is_file()]
    names = {path.name for path in files}
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"} <= names
    assert max(files, key=lambda path: path.stat().st_mtime_ns).name == "trainer_state.json"


@canary(
    "_get_output_dir",
    "transformers.trainer_utils.PREFIX_CHECKPOINT_DIR",
    breaks="the ledger lies beside the checkpoint, and checkpoints are not found",
)
def test_where_checkpoints_lie(plain):
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

    assert Path(plain.trainer._get_output_dir(None)) == plain.folder and PREFIX_CHECKPOINT_DIR == "checkpoint"
    assert {f"checkpoint-{step}" for step in (1, 2, 3)} <= {path.name for path in plain.folder.iterdir()}


@canary("transformers.trainer_utils.rotate_checkpoints", breaks="save_total_limit")
def test_checkpoints_are_rotated(tmp_path):
    from transformers.trainer_utils import rotate_checkpoints

    for step in (1, 2, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    rotate_checkpoints(str(tmp_path), 2, str(tmp_path / "checkpoint-1"), use_mtime=True)
    assert len(list(tmp_path.iterdir())) == 2 and (tmp_path / "checkpoint-1").exists()
    rotate_checkpoints(str(tmp_path), None, None, use_mtime=True)
    assert len(list(tmp_path.iterdir())) == 2


@canary("_train_batch_size", breaks="samples that the last batch repeats on several processes")
def test_batch_size(plain):
    assert plain.trainer._train_batch_size == 2


@canary("_metrics", breaks="logs lack glow/mean_weight and the other figures of the weights")
def test_metrics_are_averaged_into_the_next_entry(plain):
    assert logged(plain.trainer, "made/up") == [2.0, 2.0, 2.0]


@canary("_total_train_tokens", breaks="num_tokens starts anew when a run is resumed")
def test_the_number_of_tokens_goes_on_from_what_was_set(plain):
    assert logged(plain.trainer, "num_tokens")[-1] == plain.trainer._total_train_tokens < 1_000_000
    assert all(1_000_000 < number < 1_001_000 for number in logged(plain.resumed, "num_tokens")[1:])


@canary("log", "log_history", breaks="the entries of the epochs, glow/epoch and others")
def test_an_entry_of_its_own(plain):
    Trainer.log(plain.trainer, {"made/alone": 1.0})
    assert plain.trainer.state.log_history.pop().keys() <= {"made/alone", "epoch", "step"}


@canary("_is_vision_dataset", breaks="data sets with images are not refused")
def test_data_without_images(plain):
    assert plain.trainer._is_vision_dataset is False


@canary("_tag_names", "_name", "create_model_card", breaks="the model card of a GLOW run, and secrets in it")
def test_a_model_card_says_trainer_and_tags(plain):
    card = (plain.folder / "README.md").read_text()
    assert "- a-canary" in card and "Canary" in card


@canary("_issue_warnings_after_load", "all_tied_weights_keys", breaks="resuming warns of tied weights as missing")
def test_tied_weights_are_missing_in_a_checkpoint(plain):
    (call,) = plain.resumed.calls["_issue_warnings_after_load"]
    assert call.args[0].missing_keys == ["lm_head.weight"] and call.args[0]._replace(missing_keys=[])
    assert "lm_head.weight" in plain.resumed.model.all_tied_weights_keys


class Kept(TrainerCallback):
    """What a callback has to have for its state to be saved."""

    def state(self):
        return {"args": {}, "attributes": {"samples": 4}}


@canary(
    "transformers.trainer_callback.ExportableState",
    "stateful_callbacks",
    breaks="a run does not know how many samples its steps had, when it is resumed on other processes",
)
def test_the_state_of_a_callback_is_saved(plain, tiny_model, tmp_path):
    from transformers.trainer_callback import ExportableState

    callback = type("Stateful", (Kept, ExportableState), {})()
    settings = glow_settings(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    trainer = SFTTrainer(tiny_model, SFTConfig(**settings), train_dataset=plain.rows, callbacks=[callback])
    trainer.train()
    saved = json.loads((tmp_path / "checkpoint-1" / "trainer_state.json").read_text())["stateful_callbacks"]
    assert saved["Stateful"] == callback.state() and isinstance(trainer.state.stateful_callbacks, dict)
    trainer.state.stateful_callbacks.setdefault("Stateful", {})


@canary("_setup_devices", breaks="a run of several processes on CPU is not resumed with its optimizer")
def test_the_device_is_kept_where_it_can_be_changed(tmp_path):
    args = TrainingArguments(str(tmp_path), use_cpu=True)
    assert args.device.type == "cpu"
    vars(args)["_setup_devices"] = torch.device("meta")
    assert args.device.type == "meta"


@canary("transformers.trainer_utils.IntervalStrategy", breaks="logging_strategy: no")
def test_no_logging(tmp_path):
    from transformers.trainer_utils import IntervalStrategy

    args = TrainingArguments(str(tmp_path), use_cpu=True, logging_strategy="no")
    assert args.logging_strategy == IntervalStrategy.NO


@canary("training_bar", breaks="the progress bar of a training, and its figures")
def test_the_bar_of_a_training():
    callback, state = ProgressCallback(), TrainerState(max_steps=2, is_world_process_zero=False)
    callback.on_train_begin(None, state, TrainerControl())
    assert callback.training_bar is None, "of the main process only"
    state.is_world_process_zero = True
    callback.on_train_begin(None, state, TrainerControl())
    callback.training_bar.mininterval = 30.0
    callback.training_bar.set_postfix({"loss": "1"}, refresh=False)
    callback.training_bar.close()


@pytest.fixture
def batch():
    labels = torch.tensor([[-100, -100, 5, 6, 7], [-100, 4, 5, -100, -100]])
    return {"input_ids": labels.clamp(min=3), "attention_mask": torch.ones_like(labels), "labels": labels}


@canary("fused_lm_head", breaks="the GLOW loss, which keeps what the model gives when it is called so")
def test_the_loss_calls_the_model_for_fused_outputs(trainer, batch):
    seen = []

    def model(**inputs):
        seen.append(inputs)
        return trainer.model(**inputs)

    trainer.compute_loss(model, dict(batch))
    (inputs,) = seen
    assert inputs["fused_lm_head"] is True and inputs["labels"].equal(batch["labels"])


@pytest.fixture(scope="module")
def head(tiny_model):
    """A model as `SFTTrainer` makes it, and as it is."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    return model, AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


@canary("trl.trainer.add_fused_lm_head", "forward", breaks="glow-trl entropy and glow-trl loss")
def test_the_fused_head_is_put_on_and_taken_off(head, batch):
    from trl.trainer import add_fused_lm_head

    model, bare = head
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    assert "forward" in vars(model), "it is an attribute of the model that can be deleted"
    with torch.no_grad():
        assert model(**batch, fused_lm_head=True).log_probs is not None
        del model.forward
        assert model(batch["input_ids"]).logits.equal(bare(batch["input_ids"]).logits)


@pytest.mark.parametrize("name", ["log_probs", "entropy", "label_mask"])
def test_fused_outputs(name, head, batch):
    @canary(name, breaks="the GLOW loss, and the losses and entropies of glow-trl loss and glow-trl entropy")
    def check():
        from trl.trainer import add_fused_lm_head

        model, bare = head
        add_fused_lm_head(model, outputs=("log_probs", "entropy"))
        with torch.no_grad():
            found = getattr(model(**batch, fused_lm_head=True), name)
            log_probs = bare(batch["input_ids"]).logits[:, :-1].log_softmax(-1)
        del model.forward
        labels = batch["labels"][:, 1:]
        mask = labels != -100
        chosen = log_probs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        expected = {"log_probs": chosen, "entropy": -(log_probs.exp() * log_probs).sum(-1), "label_mask": mask}
        torch.testing.assert_close(found.float(), expected[name].float() * mask, atol=1e-5, rtol=1e-5)

    check()


COVERED.update({"log_probs", "entropy", "label_mask"})


@canary("aux_loss", "aux_loss_enabled", "router_aux_loss_coef", breaks="GLOW for a mixture of experts")
def test_the_auxiliary_loss(plain, tiny_model, tmp_path, batch):
    assert plain.trainer.aux_loss_enabled is False
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    experts = {
        "num_experts": 2,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    }
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    config = Qwen2MoeConfig(
        vocab_size=len(tokenizer), num_key_value_heads=2, output_router_logits=True, **sizes, **experts
    )
    config.router_aux_loss_coef = 0.25
    args = SFTConfig(**glow_settings(tmp_path))
    model = Qwen2MoeForCausalLM(config)
    trainer = SFTTrainer(model, args, train_dataset=plain.rows, processing_class=tokenizer)
    assert trainer.aux_loss_enabled is True and trainer.router_aux_loss_coef == 0.25
    outputs = trainer.model(**batch, fused_lm_head=True, output_router_logits=True)
    assert outputs.aux_loss.shape == () and outputs.aux_loss.requires_grad


@canary("seq_idx", "seq_lengths", breaks="GLOW with packing or padding_free: the losses of a row's samples")
def test_the_samples_of_a_packed_row():
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    rows = [[3, 4, 5, 6, 7], [8, 9]]
    batch = collator([{"input_ids": row, "labels": row, "seq_lengths": [len(row) - 2, 2]} for row in rows[:1]])
    assert batch["seq_idx"].tolist() == [[0, 0, 0, 1, 1]] and batch["input_ids"].tolist() == rows[:1]
    batch = collator([{"input_ids": row, "labels": row} for row in rows])
    assert batch["seq_idx"].tolist() == [[0, 0, 0, 0, 0, 1, 1]]


@canary("pack_dataset", "seq_lengths", breaks="GLOW with packing: the numbers of a row's samples")
def test_packing():
    tokens = [[0, 0, 0], [1, 1], [2, 2, 2, 2]]
    rows = [{"input_ids": row, "sample_id": row} for row in tokens]
    packed = pack_dataset(Dataset.from_list(rows), 5, "bfd", {"desc": "canary"})
    assert packed["sample_id"][:] == packed["input_ids"][:], "other columns move along with the tokens"
    assert sorted(packed["seq_lengths"][:]) == [[3, 2], [4]] and sorted(sum(packed["input_ids"], [])) == sum(
        tokens, []
    )


@canary(
    *("get_train_dataloader", "set_sampler", "batch_sampler", "generator", "set_epoch"),
    breaks="train_sampling_strategy='group_by_length' is not the same when resumed",
)
def test_samplers_are_reached(trainer):
    trainer.args.train_sampling_strategy = "group_by_length"
    loader = trainer.get_train_dataloader()
    sampler = loader.batch_sampler.sampler
    orders = []
    for seed in (1, 1, 2, 3, 4):
        sampler.generator = torch.Generator().manual_seed(seed)
        orders.append(list(sampler))
    assert orders[0] == orders[1] and len(set(map(tuple, orders))) > 1, "it draws from its attribute `generator`"

    class Told(torch.utils.data.SequentialSampler):
        epoch = None

        def set_epoch(self, epoch):
            self.epoch = epoch

    told = Told(range(10))
    loader.set_sampler(told)
    loader.set_epoch(3)
    assert told.epoch == 3 and loader.batch_sampler.sampler is told


@canary(
    "deepspeed_engine_wrapped",
    "deepspeed_plugin",
    breaks="glow_normalization='mean' with accumulation under DeepSpeed, resuming on other processes",
)
def test_what_accelerate_keeps_of_deepspeed(trainer):
    from accelerate.utils.deepspeed import DeepSpeedEngineWrapper

    text = source("accelerate", "accelerator.py")
    assert re.search(r"self\.deepspeed_engine_wrapped = DeepSpeedEngineWrapper\(", text)
    engine = SimpleNamespace()
    assert DeepSpeedEngineWrapper(engine).engine is engine
    assert trainer.accelerator.state.deepspeed_plugin is None


@pytest.mark.parametrize(
    ("name", "files", "pattern"),
    [
        ("loss_scale", ["runtime/zero/stage3.py", "runtime/zero/stage_1_and_2.py"], r"\n    loss_scale = property\("),
        (
            "dynamic_loss_scale",
            ["runtime/zero/stage3.py", "runtime/zero/stage_1_and_2.py"],
            r"self\.dynamic_loss_scale",
        ),
        ("ds_tensor", ["runtime/zero/partition_parameters.py"], r"param\.ds_tensor = "),
        ("--inject_missing_state", ["checkpoint/ds_to_universal.py"], r"'--inject_missing_state'"),
        ("load_universal", ["checkpoint/constants.py", "runtime/constants.py"], r"= ['\"]load_universal['\"]"),
        ("latest_universal", ["checkpoint/ds_to_universal.py"], r"latest_universal"),
    ],
)
def test_deepspeed(name, files, pattern):
    """In its source, as it is slow to import; tests/glow and tests/training run it."""
    if find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")

    @canary(name, breaks="glow_normalization='mean' or finite weights under ZeRO, resuming on other processes")
    def check():
        texts = [source("deepspeed", file) for file in files if not file.endswith("constants.py")]
        texts += ["\n".join(source("deepspeed", file) for file in files)] if not texts else []
        assert all(re.search(pattern, text) for text in texts), f"not found in {files}"

    check()


@canary(
    "accelerate.commands.launch.launch_command",
    "accelerate.commands.launch.launch_command_parser",
    breaks="glow-trl run cannot start the training stages",
)
def test_the_launcher_of_accelerate():
    from accelerate.commands.launch import launch_command, launch_command_parser

    arguments = launch_command_parser().parse_args(["--num_processes", "2", "-m", "a.module", "--key", "value"])
    assert arguments.module and (arguments.num_processes, arguments.training_script) == (2, "a.module")
    assert arguments.training_script_args == ["--key", "value"]
    inspect.signature(launch_command).bind(arguments)


@canary(
    "torch.distributed.elastic.agent.server.api",
    "torch.distributed.elastic.multiprocessing.api.SignalException",
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError",
    breaks="the exit code of a stage on several processes, and what is said when it is interrupted",
)
def test_what_torch_says_of_processes_that_end():
    from torch.distributed.elastic.agent.server import api as agent
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    assert agent.logger.name == agent.__name__
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=3, error_file="none")
    assert ChildFailedError("a stage", {0: failure}).get_first_failure()[1].exitcode == 3
    assert issubclass(SignalException, Exception)


@canary("_set_pg_timeout", breaks="a run of several processes whose data take longer than ddp_timeout to prepare")
def test_the_time_limit_of_processes_can_be_changed(tmp_path):
    group = torch.distributed
    group.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        group.distributed_c10d._set_pg_timeout(timedelta(seconds=77))
        backend = group.group.WORLD._get_backend(torch.device("cpu"))
        assert backend.options._timeout == timedelta(seconds=77)
    finally:
        group.destroy_process_group()


@canary("parse_known_args", "add_argument", "set_defaults_with_config", breaks="the settings of all commands")
def test_the_parser_goes_through_what_ours_override():
    seen = {}

    class Parser(TrlParser):
        def add_argument(self, *names, **options):
            seen.update({names[0]: options.pop("mine", None)})
            return super().add_argument(*names, **options)

        def parse_known_args(self, args=None, namespace=None):
            found, rest = super().parse_known_args(args, namespace)
            seen["found"] = found.number
            return found, rest

    @dataclass
    class Config:
        number: int = field(default=1, metadata={"help": "a number", "mine": "marked"})

    parser = Parser([Config])
    assert seen["--number"] == "marked", "metadata of a field become options of its argument"
    parser.set_defaults_with_config(number=7)
    (config,) = parser.parse_args_into_dataclasses([])
    assert config.number == seen["found"] == 7


@canary("get_nb_trainable_parameters", breaks="the numbers of parameters in run.json")
def test_peft_counts_the_parameters_of_any_model(head):
    _, model = head
    total = sum(parameter.numel() for parameter in model.parameters())
    assert PeftModel.get_nb_trainable_parameters(model) == (total, total)


class Made(ArrowBasedBuilder):
    """As the rows of a stage are kept."""

    def __init__(self, tables, digest, cache_dir):
        self.tables = tables
        super().__init__(cache_dir=str(cache_dir), dataset_name="canaries", config_id=digest)

    def _info(self):
        return DatasetInfo(features=Features({"number": Value("int64")}))

    def _split_generators(self, dl_manager):
        return [SplitGenerator(Split.TRAIN)]

    def _generate_tables(self):
        return enumerate(self.tables())


@canary(
    *("_info", "_split_generators", "_generate_tables", "config_id", "cache_files"),
    breaks="the cache of the rows of sft, grpo, loss and dynamics",
)
def test_tables_are_made_once_and_found_again(tmp_path):
    made = []

    def tables():
        made.append(1)
        yield pyarrow.table({"number": [1, 2]})

    for digest in ("one", "one", "two"):
        builder = Made(tables, digest, tmp_path)
        builder.download_and_prepare()
        dataset = builder.as_dataset(Split.TRAIN)
        assert dataset["number"][:] == [1, 2]
        assert Path(dataset.cache_files[0]["filename"]).is_file() and digest in dataset.cache_files[0]["filename"]
    assert len(made) == 2


@canary("DatasetGenerationError", breaks="the message about a bad row, with its file and line")
def test_the_error_of_a_row_is_the_cause(tmp_path):
    from datasets.exceptions import DatasetGenerationError

    def tables():
        raise KeyError("a bad row")
        yield

    with pytest.raises(DatasetGenerationError) as found:
        Made(tables, "bad", tmp_path).download_and_prepare()
    assert isinstance(found.value.__cause__, KeyError)


@canary("HF_HUB_CACHE", "try_to_load_from_cache", breaks="the commit of a model on the Hub in run.json")
def test_where_the_hub_keeps_the_commit_of_a_revision(tmp_path):
    from huggingface_hub import constants, try_to_load_from_cache

    assert Path(constants.HF_HUB_CACHE).name == "hub"
    folder = tmp_path / "models--someone--model"
    file = folder / "snapshots" / ("0" * 40) / "config.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    assert try_to_load_from_cache("someone/model", "config.json", cache_dir=tmp_path, revision="main") == str(file)


@canary("math_verify.parser", "extract_match", breaks="glow-trl audit with the judge math-verify")
def test_math_verify_reads_matches_through_its_module(monkeypatch):
    import math_verify
    from math_verify import parser

    seen = []
    read = parser.extract_match
    monkeypatch.setattr(parser, "extract_match", lambda match, target: seen.append(match) or read(match, target))
    assert math_verify.parse(r"$\boxed{2}$", parsing_timeout=None) and isinstance(seen[0], re.Match)


@canary("generation_batch_size", breaks="resuming GRPO on another number of processes")
def test_completions_of_a_step(tmp_path):
    sizes = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "num_generations": 4}
    assert GRPOConfig(str(tmp_path), use_cpu=True, bf16=False, **sizes).generation_batch_size == 12


# What of TRL's GRPO ours overrides or calls with dynamic sampling: the number of arguments
SAMPLED = {
    "_generate_and_score_completions": 1,
    "_generate": 1,
    "_calculate_rewards": 4,
    "_compute_loss": 2,
    "_get_train_sampler": 0,
    "_save_rng_state": 1,
}
COVERED.update(SAMPLED)


@pytest.fixture(scope="module")
def grpo(tiny_model, tmp_path_factory):
    """A step of TRL's own GRPO, what its reward was given, and the calls of what ours leans on, in order."""
    from trl import GRPOTrainer

    given, calls = {}, []

    def record(name):
        def method(self, *args):
            call = SimpleNamespace(name=name, args=args, during=[c.name for c in calls if not hasattr(c, "result")])
            calls.append(call)
            call.result = getattr(super(Recorder, self), name)(*args)
            return call.result

        return method

    Recorder = type("Recorder", (GRPOTrainer,), {name: record(name) for name in SAMPLED if hasattr(GRPOTrainer, name)})

    def reward(prompts, completions, **kwargs):
        given.update(kwargs)
        if {"log_metric", "log_extra"} <= kwargs.keys():
            kwargs["log_metric"]("made/metric", 2.0)
            kwargs["log_extra"]("made/extra", ["x"] * len(completions))
        return [None if index % 4 == 3 else float(index % 2) for index in range(len(completions))]

    settings = {"per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 4, "max_steps": 1}
    settings |= {"use_cpu": True, "bf16": False, "logging_steps": 1, "report_to": "none", "save_strategy": "steps"}
    settings |= {"save_steps": 1}
    args = GRPOConfig(str(tmp_path_factory.mktemp("grpo")), beta=0.1, disable_tqdm=True, **settings)
    rows = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": f"{n}+1=?"}], "answer": str(n)} for n in range(2)]
    )
    trainer = Recorder(tiny_model, reward, args=args, train_dataset=rows)
    trainer.train()
    return SimpleNamespace(trainer=trainer, given=given, calls=calls)


@pytest.mark.parametrize("name", SAMPLED)
def test_grpo_calls_what_dynamic_sampling_overrides(name, grpo):
    from glow_trl.training.dynamic_sampling import DynamicSamplingGRPOTrainer

    try:
        found = [call for call in grpo.calls if call.name == name]
        assert found, "TRL's trainer has it no more, or does not call it"
        for call in found:
            inspect.signature(getattr(DynamicSamplingGRPOTrainer, name)).bind(None, *call.args)
        if name in ("_generate", "_calculate_rewards"):
            assert all("_generate_and_score_completions" in call.during for call in found)
    except Exception as error:
        raise AssertionError(message((name,), "dynamic_sampling in stage 2", error)) from error


@canary(
    *("_pending_extra_logs", "_step", "_buffered_inputs", "num_generations", "num_iterations", "reward_weights"),
    *("reward_funcs", "reward_func_names", "multi_objective_aggregation", "beta", "tools", "rollout_func"),
    *("environments", "accelerate.utils.gather_object"),
    breaks="dynamic_sampling in stage 2",
)
def test_what_dynamic_sampling_knows_of_a_generation(grpo):
    """What is generated are lists, one item a completion; what a micro-batch has; and what is between them."""
    from accelerate.utils import gather_object

    calls = {call.name: call for call in grpo.calls}
    prompt_ids, completion_ids, tool_mask, completions, logprobs, extra, images, tool_images = calls[
        "_generate"
    ].result
    inputs, prompts, *_ = calls["_calculate_rewards"].args
    lists = (prompt_ids, completion_ids, completions, inputs, prompts)
    assert all(isinstance(part, list) and len(part) == 4 for part in lists)
    assert prompts == [row["prompt"] for row in inputs] and inputs[0]["answer"] in ("0", "1")
    assert tool_mask is None and logprobs is None and not extra and images is None and not tool_images
    assert calls["_calculate_rewards"].result.shape == (4, 1) and calls["_calculate_rewards"].result.isnan().any()
    micro_batch = calls["_compute_loss"].args[1]
    assert {"prompt_ids", "completion_mask", "advantages", "num_items_in_batch"} <= micro_batch.keys()
    assert micro_batch["num_items_in_batch"] == micro_batch["completion_mask"].sum()
    trainer = grpo.trainer
    assert trainer._step == 1 and [part.keys() for part in trainer._buffered_inputs] == [micro_batch.keys()]
    assert (trainer.num_generations, trainer.num_iterations, trainer.beta) == (4, 1, 0.1)
    assert trainer.reward_weights.tolist() == [1.0] and len(trainer.reward_funcs) == 1
    assert trainer.reward_func_names == ["reward"] and trainer._pending_extra_logs == {}
    assert trainer.multi_objective_aggregation == "sum_then_normalize"
    assert not trainer.tools and trainer.rollout_func is None and trainer.environments is None
    sampler = calls["_get_train_sampler"].result
    assert (sampler.mini_repeat_count, sampler.repeat_count, sampler.batch_size) == (4, 1, 1)
    assert len(list(sampler)) == len(sampler) == 8 and sampler.shuffle
    assert gather_object([1, 2]) == [1, 2]


@canary("log_extra", "log_metric", breaks="what accuracy_reward logs with completions and as metrics")
def test_what_a_reward_is_given(grpo):
    assert {"answer", "completion_ids", "trainer_state", "log_extra", "log_metric"} <= grpo.given.keys()
    assert len(set(grpo.given["answer"])) == 1 and len(grpo.given["answer"]) == 4
    assert logged(grpo.trainer, "made/metric") == [2.0]


@pytest.mark.parametrize(
    "name",
    ["reward", "reward_std", "frac_reward_zero_std", "kl", "entropy", "completions/clipped_ratio", "grad_norm"],
)
def test_what_the_guard_looks_at(name, grpo):
    @canary(name, breaks="the guard, which stops a GRPO run that collapses")
    def check():
        (value,) = logged(grpo.trainer, name)
        assert isinstance(value, float) and value == value

    check()


@canary("generation_config", "remove_invalid_values", breaks="a GRPO run whose model is ruined ends in torch's words")
def test_generation_goes_by_the_trainers_own_configuration(grpo):
    assert grpo.trainer.generation_config.max_new_tokens == 4
    grpo.trainer.generation_config.remove_invalid_values = True
    ids = torch.tensor([[3, 4]])
    mean = grpo.trainer.model.model.norm.weight
    with torch.no_grad():
        kept = mean.clone()
        mean.fill_(torch.nan)
        try:
            assert grpo.trainer.model.generate(ids, generation_config=grpo.trainer.generation_config).shape == (1, 6)
        finally:
            mean.copy_(kept)


@canary("--logprobs-mode", "--weight-transfer-config", breaks="GRPO with a vLLM server that the run starts")
def test_the_server_is_as_trl_wants_it():
    from trl.scripts.vllm_serve import ScriptArguments, build_command

    from glow_trl.training.vllm_server import server_command

    theirs = build_command(ScriptArguments("a-model", host="127.0.0.1", port=1, dtype="float32", max_model_len=64))
    ours = server_command("a-model", "127.0.0.1", 1, "float32", 64)
    for option in ("--logprobs-mode", "--max-logprobs", "--weight-transfer-config"):
        (value,) = {command[command.index(option) + 1].replace(" ", "") for command in (theirs, ours)}


@pytest.mark.parametrize(
    ("name", "file", "passed"),
    [
        ("LLMEngine.add_request", "v1/engine/llm_engine.py", {"request_id", "prompt", "params", "lora_request"}),
        ("LLMEngine.step", "v1/engine/llm_engine.py", set()),
        ("LLMEngine.abort_request", "v1/engine/llm_engine.py", {"request_ids"}),
        ("EngineCoreClient.shutdown", "v1/engine/core_client.py", set()),
        ("RequestOutputKind.FINAL_ONLY", "sampling_params.py", set()),
    ],
)
def test_vllm(name, file, passed):
    """In its source, as it is slow to import; tests/generation runs it."""
    if find_spec("vllm") is None:
        pytest.skip("vllm is not installed")

    @canary(name.rpartition(".")[2], breaks="the generation engine vllm")
    def check():
        assert passed <= arguments("vllm", file, name)

    check()


def arguments(library: str, file: str, name: str) -> set[str]:
    """The arguments that a method takes; none of an attribute of a class."""
    owner, _, member = name.partition(".")
    tree = ast.parse(source(library, file))
    (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == owner)
    for node in found.body:
        if isinstance(node, ast.FunctionDef) and node.name == member:
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            return {argument.arg for argument in taken}
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == member:
            return set()
    raise AttributeError(f"{name} in {library}/{file}")


def test_what_a_test_replaces_of_trls_weight_sync():
    """Not used by the package: helpers/grpo_vllm_worker.py replaces it, as it does not run on CPU."""
    generation = {"sync_weights": {"self"}, "_iter_named_params": {"self"}}
    for name, taken in generation.items():
        assert arguments("trl", "generation/vllm_generation.py", f"VLLMGeneration.{name}") == taken
    assert arguments("trl", "generation/vllm_client.py", "VLLMClient.init_communicator") == {"self", "device"}
    assert re.search(r"self\.llm = LLM\(", source("trl", "generation/vllm_generation.py"))


@canary("flat_logprobs", "logprobs_mode", breaks="log_probs of vLLM and of its server")
def test_the_form_of_vllms_log_probs():
    """With no value but the token's own they are one after another; the default is the model's own."""
    if find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    text = source("vllm", "logprobs.py")
    assert re.search(r"^class FlatLogprobs\(.*?^    logprobs: list\[float\]", text, re.MULTILINE | re.DOTALL)
    assert re.search(r"flat_logprobs: bool = False", source("vllm", "sampling_params.py"))
    assert re.search(r'logprobs_mode: LogprobsMode = "raw_logprobs"', source("vllm", "config/model.py"))
    assert "-9999.0" in source("vllm", "entrypoints/openai/completion/serving.py")


@canary("vllm.platforms.current_platform", "llm_engine", "engine_core", breaks="the generation engine vllm")
def test_what_vllm_keeps():
    if find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    assert re.search(r"^    current_platform: Platform", source("vllm", "platforms/__init__.py"), re.MULTILINE)
    assert re.search(r"def is_cpu\(self\)", source("vllm", "platforms/interface.py"))
    assert re.search(r"self\.llm_engine = LLMEngine", source("vllm", "entrypoints/llm.py"))
    engine = source("vllm", "v1/engine/llm_engine.py")
    assert "self.engine_core = EngineCoreClient" in engine and "self.model_config = " in engine


def test_everything_undocumented_has_a_canary():
    missing = {name: where for name, where in leanings().items() if name not in COVERED}
    assert not missing, f"write a canary, as {__name__} has them, for what the package newly leans on: {missing}"


def test_no_canary_outlives_what_it_watches():
    unused = [name for name in COVERED if not places(name)]
    assert not unused, f"the package has nothing of this any more: {unused}"


def test_the_search_finds_each_way_to_lean_on_a_library(monkeypatch):
    theirs = {"_metrics", "_save_checkpoint", "_setup_devices", "_tag_names", "_train_batch_size", "_private"}
    monkeypatch.setattr(leaning, "members", lambda library: theirs | {"aux_loss_enabled", "compute_loss"})
    text = """
from trl import SFTTrainer, _hidden
from trl.trainer.utils import deep
from transformers.utils.logging import documented
import accelerate.utils

class Mine(SFTTrainer):
    _tag_names = ["mine"]
    _own = 1

    def _save_checkpoint(self, model, trial):
        self._own = self._also_own = 2
        return super()._vanished(self._metrics, self.args, self._own)

    def compute_loss(self, model):
        return self.aux_loss_enabled, model._private, vars(self.args)["_setup_devices"]

    def _helper(self):
        return self.helped

class Ours:
    def _save_checkpoint(self):
        return self._path, self.trainer._train_batch_size, self.trainer._own

    def __init__(self):
        self._path = 1
"""
    found = leanings({"mine.py": nodes(text)})
    assert found == {
        "trl._hidden": ["mine.py:2"],
        "trl.trainer.utils.deep": ["mine.py:3"],
        "accelerate.utils": ["mine.py:5"],
        "_tag_names": ["mine.py:8"],
        "_save_checkpoint": ["mine.py:11"],
        "_vanished": ["mine.py:13"],
        "_metrics": ["mine.py:13"],
        "compute_loss": ["mine.py:15"],
        "aux_loss_enabled": ["mine.py:16"],
        "_private": ["mine.py:16"],
        "_setup_devices": ["mine.py:16"],
        "_train_batch_size": ["mine.py:23"],
    }
