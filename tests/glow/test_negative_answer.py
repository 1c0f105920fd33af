"""What is learned of a wrong answer: the tokens of negatives that are masked or cut, on all kinds of tokenizers."""

import json

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizer, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from glow_trl import GLOWConfig
from glow_trl.errors import UserError
from glow_trl.glow.answers import NegativeAnswers, limit_negatives
from glow_trl.recipes.built_model import CHAT_TEMPLATE, BuiltModelConfig, build_tokenizer
from helpers.glow_cases import logged, make_trainer
from helpers.launching import CPU


TEXTS = ["What is it? Hence the sum is 12 + 30 = 42, so the answer is 42. So x = \\boxed{-17}. ½ 答案是 7 😀 (A)"] * 5
QUESTION = "What is 12 + 30?"


class Letters(PreTrainedTokenizer):
    """A tokenizer in Python, which gives no offsets: a token for each character, `|` ends."""

    vocab_files_names = {}

    def __init__(self, **kwargs):
        self._ids = {chr(code): code - 31 for code in range(32, 127)} | {"\n": 0}
        super().__init__(eos_token="|", unk_token="?", **kwargs)

    @property
    def vocab_size(self):
        return len(self._ids)

    def get_vocab(self):
        return dict(self._ids)

    def _tokenize(self, text):
        return list(text)

    def _convert_token_to_id(self, token):
        return self._ids.get(token, self._ids["?"])

    def _convert_id_to_token(self, index):
        return next(token for token, number in self._ids.items() if number == index)

    def convert_tokens_to_string(self, tokens):
        return "".join(tokens)


@pytest.fixture(scope="module")
def tokenizers():
    unigram = Tokenizer(models.Unigram())
    unigram.normalizer = normalizers.NFKC()  # as SentencePiece has it: ½ is three characters then
    unigram.pre_tokenizer, unigram.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<unk>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>")
    unigram.train_from_iterator(TEXTS, trainer)
    found = {
        "word": build_tokenizer(BuiltModelConfig(), TEXTS, ["answer", "the", "sum"]),
        "bpe": build_tokenizer(BuiltModelConfig(tokenizer="bpe", vocab_size=400), TEXTS, []),
        "unigram": PreTrainedTokenizerFast(tokenizer_object=unigram, eos_token="<|im_end|>", unk_token="<unk>"),
        "letters": Letters(),
    }
    for tokenizer in found.values():
        tokenizer.chat_template = CHAT_TEMPLATE
    return found


def sample(tokenizer, completion, conversational=True, is_correct=False, **further):
    """A row as `SFTTrainer` has it once it is tokenized."""
    row = {"prompt": QUESTION, "completion": completion + tokenizer.eos_token}
    if conversational:
        row = {
            "prompt": [{"role": "user", "content": QUESTION}],
            "completion": [{"role": "assistant", "content": completion}],
        }
        ids = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"]
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)
    else:
        ids, prompt = tokenizer(row["prompt"] + row["completion"])["input_ids"], tokenizer(QUESTION)
    start = next((n for n, (a, b) in enumerate(zip(ids, prompt["input_ids"], strict=False)) if a != b), None)
    start = len(prompt["input_ids"]) if start is None else start
    labels = [-100] * start + ids[start:]
    return {**row, "input_ids": ids, "labels": labels, "is_correct": is_correct, "sample_id": 7, **further}


def limited(tokenizer, row, how):
    """A row after [`limit_negatives`], and the numbers."""
    dataset, found = limit_negatives(Dataset.from_list([row]), how, tokenizer)
    return (dataset[0] if len(dataset) else None), found


def check(tokenizer, row, tokens):
    """That just these tokens, one after another, are masked, or are where the sample ends."""
    ids, labels = row["input_ids"], row["labels"]
    masked = limited(tokenizer, row, "mask")[0]
    assert masked["input_ids"] == ids
    changed = [number for number, pair in enumerate(zip(labels, masked["labels"], strict=True)) if len(set(pair)) > 1]
    first = changed[0]
    assert changed == list(range(first, first + len(tokens)))
    assert [masked["labels"][number] for number in changed] == [-100] * len(tokens)
    assert tokenizer.convert_ids_to_tokens([ids[number] for number in changed]) == tokens
    cut = limited(tokenizer, row, "truncate")[0]
    assert (cut["input_ids"], cut["labels"]) == (ids[:first], labels[:first])


@pytest.mark.parametrize("conversational", [True, False])
@pytest.mark.parametrize(
    ("name", "completion", "tokens"),
    [
        ("word", "42 is 42? So the answer is 42.", ["4", "2"]),
        ("word", "Thus x = \\boxed{-17}.", ["-", "1", "7"]),
        ("word", "The answer is ½.", ["Â", "½"]),
        ("bpe", "So the answer is 42. 42!", ["4", "2"]),
        ("bpe", "So x = \\boxed{-17}. I am sure.", ["{-", "1", "7"]),
        ("bpe", "So the answer is 12😀.", ["1", "2", "ðŁ", "ĺĢ"]),
        ("bpe", "答案是 7", ["7"]),
        ("bpe", "42", ["4", "2"]),
        ("unigram", "So the answer is 42. It is.", ["▁42"]),
        ("unigram", "So the answer is ½.", ["▁1", "⁄", "2"]),
        ("unigram", "It has letters @ # that it does not know. So the answer is 42.", ["▁42"]),
        ("letters", "42 is 42? So the answer is 42.", ["4", "2"]),
        ("letters", "So x = \\boxed{-17}.", ["-", "1", "7"]),
    ],
)
def test_tokens_of_the_answer(tokenizers, name, completion, tokens, conversational):
    """
    Exactly the tokens that touch the answer: where tokens join it with what is before it, share a character of
    several bytes, were made of another form of the text, and where the tokenizer gives no offsets.
    """
    tokenizer = tokenizers[name]
    row = sample(tokenizer, completion, conversational)
    if completion == "42":
        assert limited(tokenizer, row, "mask")[1] == NegativeAnswers(1, 0, 0)
        assert limited(tokenizer, row, "truncate") == (None, NegativeAnswers(0, 0, 1))
    else:
        check(tokenizer, row, tokens)


def test_real_tokenizer(real_model):
    check_point = AutoTokenizer.from_pretrained(real_model)
    check(check_point, sample(check_point, "We add, so \\(x\\) is \\boxed{-1,742}."), list("-1,742"))


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role + '\n' }}{% set c = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in c %}"
    "{% set t = c.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set c = '<think>\n' + t + '\n</think>\n\n' + c.split('</think>')[-1].lstrip('\n') %}{{ c }}"
    "{% else %}{{ c }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    "template",
    [
        CHAT_TEMPLATE.replace("message['content']", "message['content'].strip()"),
        THINKING,
        THINKING.replace("'<think>\n' + t + '\n</think>\n\n' + ", ""),
    ],
    ids=["stripped", "thinking reshaped", "thinking dropped"],
)
def test_templates_that_change_the_completion(tokenizers, template):
    """The answer is found by what is around it, not what equals it elsewhere: in the question, or in the thinking."""
    tokenizer = tokenizers["bpe"]
    tokenizer.chat_template = template
    try:
        for completion in ("<think> 30 or 42? 42. </think>\n The sum is 42. ", "<think>It is 42.</think>So 42"):
            row = sample(tokenizer, completion)
            check(tokenizer, row, ["4", "2"])
            masked = limited(tokenizer, row, "mask")[0]["labels"]
            last = [number for number, label in enumerate(row["labels"]) if masked[number] != label][-1]
            assert "42" not in tokenizer.decode(row["input_ids"][last:])
        row = sample(tokenizer, "The answer is 42.")
        row["completion"] = [{"role": "assistant", "content": "The answer is 17."}]
        with pytest.raises(UserError, match="the final answer 17 of sample 7 is not among its tokens"):
            limited(tokenizer, row, "mask")
    finally:
        tokenizer.chat_template = CHAT_TEMPLATE


def test_reference_log_probs_stay_aligned(tokenizers):
    """They are cut with the tokens, in the type that they have."""
    row = sample(tokenizers["word"], "So the answer is 42.")
    row["ref_log_probs"] = list(range(len(row["input_ids"])))
    plain = Dataset.from_list([row])
    dataset = plain.cast(Features({**plain.features, "ref_log_probs": List(Value("uint16"))}))
    for how in ("mask", "truncate"):
        changed, _ = limit_negatives(dataset, how, tokenizers["word"])
        assert changed.features == dataset.features
        assert changed[0]["ref_log_probs"] == row["ref_log_probs"][: len(changed[0]["input_ids"])]
        assert len(changed[0]["input_ids"]) == len(row["input_ids"]) - 4 * (how == "truncate")


def test_kind_and_choices_of_the_row(tokenizers):
    """The verifier of the row's kind finds the answer; a kind of one's own finds none, and the sample stays whole."""
    tokenizer = tokenizers["word"]
    completion = "So is it 12? The answer is (A) the sum."
    check(tokenizer, sample(tokenizer, completion, kind="choice"), ["A"])
    row = sample(tokenizer, completion, kind="choice", choices=["the sum", "What"])
    check(tokenizer, row, ["A", ")", "Ġ", "the", "Ġ", "sum"])
    check(tokenizer, {**row, "choices": json.dumps(row["choices"])}, ["A", ")", "Ġ", "the", "Ġ", "sum"])
    for further in ({"kind": "my_judges:strict"}, {"kind": "choice"}):
        row = sample(tokenizer, "So what is it?", **further)
        same, found = limited(tokenizer, row, "mask")
        assert same == row and found == NegativeAnswers(0, 1, 0)


def test_errors(tokenizers):
    row = sample(tokenizers["word"], "So the answer is 42.")
    for missing, message in (("is_correct", "needs is_correct"), ("completion", "a prompt and a completion")):
        without = {name: value for name, value in row.items() if name != missing}
        with pytest.raises(UserError, match=message):
            limited(tokenizers["word"], without, "mask")
    with pytest.raises(UserError, match="sample 7 has no is_correct"):
        dataset = Dataset.from_list([{**row, "is_correct": True}, {**row, "is_correct": None}])
        limit_negatives(dataset, "mask", tokenizers["word"])
    with pytest.raises(UserError, match="negative_answer: expected one of keep, mask, truncate, got 'cut'"):
        GLOWConfig(negative_answer="cut", report_to="none", use_cpu=True, bf16=False)


ANSWERS = [("so the sum is {}.", True), ("so the sum is {}.", False), ("\\boxed{{{}}}", False), ("{}", False)]
ROWS = [
    {
        "prompt": [{"role": "user", "content": f"{number}+{number}=?"}],
        "completion": [
            {"role": "assistant", "content": "it is so. " * (text[0] != "{" and number % 3) + text.format(number)}
        ],
        "is_correct": right,
    }
    for number, (text, right) in zip(range(10, 26), ANSWERS * 4, strict=True)
]


def tokenized(trainer):
    return {row["sample_id"]: (row["input_ids"], row["labels"]) for row in trainer.train_dataset}


@pytest.mark.parametrize("length", [{}, {"max_length": 50}, {"max_length": 20, "truncation_mode": "keep_end"}])
@pytest.mark.parametrize("how", ["mask", "truncate"])
def test_trainer(tiny_model, tmp_path, how, length):
    """
    Positives are as TRL makes them, and the answers of negatives are none of the targets. They are left out before
    samples are cut to `max_length`, which is the place of `SFTTrainer`'s own.
    """
    kept = make_trainer(tiny_model, tmp_path, ROWS, **length)
    theirs = make_trainer(tiny_model, tmp_path, ROWS, config=SFTConfig, trainer=SFTTrainer, **length).train_dataset
    assert [(row["input_ids"], row["labels"]) for row in theirs] == list(tokenized(kept).values())
    trainer = make_trainer(tiny_model, tmp_path, ROWS, negative_answer=how, **length)
    part = slice(-20, None) if "truncation_mode" in length else slice(length.get("max_length"))
    expected = {}
    for number, (ids, labels) in tokenized(make_trainer(tiny_model, tmp_path, ROWS)).items():
        if not ROWS[number]["is_correct"]:
            text, answer = ROWS[number]["completion"][0]["content"], str(number + 10)
            # One token for each character, and the end token
            first = len(ids) - len(text) + text.rindex(answer) - 1
            labels = labels[:first] + [-100, -100] + labels[first + 2 :]
            if how == "truncate":
                ids, labels = ids[:first], labels[:first]
        if set(labels[part][1:]) - {-100}:
            expected[number] = (ids[part], labels[part])
    assert tokenized(trainer) == expected
    dropped = 4 if how == "truncate" else 0
    assert trainer.negative_answers == NegativeAnswers(12 - dropped, 0, dropped)
    assert kept.negative_answers is None


@pytest.mark.parametrize("how", ["mask", "truncate"])
def test_packed_as_padded(tiny_model, tmp_path, how):
    """The losses of all samples, with and without packing; what has nothing but an answer has none."""
    settings = {"negative_answer": how, "num_train_epochs": 2, "max_length": 64, "per_device_train_batch_size": 4}
    losses = []
    for packing in (False, True):
        trainer = make_trainer(tiny_model, tmp_path, ROWS, packing=packing, learning_rate=0.0, **settings)
        trainer.train()
        losses.append(trainer.ledger.current.numpy())
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert np.isnan(losses[0]).sum() == (4 if how == "truncate" else 0)


@pytest.mark.parametrize(("how", "packing"), [("mask", True), ("truncate", False), ("truncate", True)])
def test_with_log_probs_of_the_data(tiny_model, tmp_path, how, packing):
    """They are compared with the tokens of the whole sample, then cut with these, and a weighting has them."""
    whole, rows = tokenized(make_trainer(tiny_model, tmp_path, ROWS)), []
    for number, row in enumerate(ROWS):
        ids = [label for label in whole[number][1] if label != -100]
        rows.append({**row, "completion_ids": ids, "log_probs": [-0.5 * (place + 1) for place in range(len(ids))]})
    settings = {"weighting": "pear", "negative_answer": how, "max_length": 48, "packing": packing}
    trainer = make_trainer(tiny_model, tmp_path, rows, **settings)
    for row in trainer.train_dataset:
        start = 0
        for length in row.get("seq_lengths") or [len(row["input_ids"])]:
            codes = row["ref_log_probs"][start : start + length]
            known = [code for code in codes if code != 65535]
            assert len(codes) == length and known == [1024 * (place + 1) for place in range(len(known))]
            start += length
    trainer.train()
    assert all(np.isfinite(logged(trainer, "glow/epoch_loss")))


@pytest.mark.parametrize("how", ["mask", "truncate"])
def test_stage(tiny_model, trajectories, tmp_path, glow_trl, how):
    """
    Of trajectories in a file: the numbers are in run.json, and the end token counts as learned where positives end
    with it, so that the model can be handed over.
    """
    settings = ["--weighting", "uniform", "--max_steps", 1, "--packing", how == "truncate", "--negative_answer", how]
    places = ["--model_name_or_path", tiny_model, "--dataset_name", trajectories, "--output_dir", tmp_path / "out"]
    code, said = glow_trl("sft", *places, *CPU, *settings)
    assert code == 0, said
    assert f"negative_answer={how}: the final answers of 20 negatives are not learned" in said
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["negative_answers"] == {"changed": 20, "without_answer": 0, "dropped": 0}
    assert json.loads((tmp_path / "out" / "handover.json").read_text())["end_token_share"] == 1


def test_negatives_that_end_before_their_answers_teach_no_end(tiny_model, trajectories, tmp_path, glow_trl):
    settings = ["--trajectories", "negative", "--negative_answer", "truncate"]
    places = ["--model_name_or_path", tiny_model, "--dataset_name", trajectories, "--output_dir", tmp_path / "out"]
    code, said = glow_trl("sft", *places, *CPU, *settings)
    assert code == 2 and "negatives end before their answers: set negative_answer to mask" in said
