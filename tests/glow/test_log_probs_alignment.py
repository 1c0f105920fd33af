"""Log-probabilities of the data beside the student's tokens: where they belong, and that no others are taken."""

import json
import random

import numpy as np
import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from glow_trl.data.log_probs import UNKNOWN, encode_token_ids, log_probs_of, row_columns
from glow_trl.errors import UserError
from glow_trl.glow.reference import REF_LOG_PROBS, UnalignedSample, align_log_probs, initial_losses
from helpers.glow_cases import make_trainer


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


def sampled_rows(tokenizer, count: int = 9, seed: int = 0) -> list[dict]:
    """Conversations with what a teacher of the same tokenizer sampled: the completion and mostly its end token."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        text = "".join(rng.choice("0123456789+=; abc") for _ in range(rng.randint(1, 12)))
        ids = tokenizer.encode(text, add_special_tokens=False) + [tokenizer.eos_token_id] * (index % 3 > 0)
        log_probs = [-(index + 1) / 16 - place / 2048 for place in range(len(ids))]
        rows.append(
            {
                "prompt": [{"role": "user", "content": f"{index}+{rng.randint(1, 999)}="}],
                "completion": [{"role": "assistant", "content": text}],
                **row_columns(ids, log_probs),
                "sampled": ids,
                "expected": log_probs,
            }
        )
    return rows


def tokenized(tokenizer, rows) -> Dataset:
    """As SFTTrainer does it, by hand."""
    samples = []
    for row in rows:
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False)
        assert whole[: len(prompt)] == prompt
        columns = {name: row[name] for name in ("log_probs", "completion_ids") if name in row}
        samples.append({"input_ids": whole, "labels": [-100] * len(prompt) + whole[len(prompt) :], **columns})
    return Dataset.from_list(samples)


def expected(sample: dict, row: dict) -> list[int]:
    """The codes of a sample, one token after another."""
    start = next(place for place, label in enumerate(sample["labels"]) if label != -100)
    codes = [UNKNOWN] * len(sample["input_ids"])
    for place, value in enumerate(row["expected"]):
        codes[start + place] = round(-value * 2048)
    return codes


@pytest.mark.parametrize("form", ["texts", "lists", "json"])
def test_each_value_stands_at_its_token(tokenizer, form):
    """And none at the prompt's, nor at those with which the template closes the answer."""
    rows = sampled_rows(tokenizer)
    given = rows
    if form != "texts":
        as_form = json.dumps if form == "json" else list
        given = [
            row | {"log_probs": as_form(row["expected"]), "completion_ids": as_form(row["sampled"])} for row in rows
        ]
    samples = tokenized(tokenizer, given)
    aligned = align_log_probs(samples, tokenizer)
    assert set(aligned.column_names) == {"input_ids", "labels", REF_LOG_PROBS}
    assert aligned[REF_LOG_PROBS][:] == [expected(*pair) for pair in zip(samples, rows, strict=True)]
    # Without the end token among the sampled the template's is further, too
    assert {codes.count(UNKNOWN) for codes in aligned[REF_LOG_PROBS]} != {0}
    losses = initial_losses(aligned)
    assert losses == pytest.approx([-np.mean(row["expected"]) for row in rows], abs=3e-4)


def test_a_selection_and_an_order_of_rows_keep_theirs(tokenizer):
    rows = sampled_rows(tokenizer)
    samples = tokenized(tokenizer, rows)
    order = [7, 2, 2, 5]
    aligned = align_log_probs(samples.select(order), tokenizer)
    assert aligned[REF_LOG_PROBS][:] == [expected(samples[index], rows[index]) for index in order]


@pytest.mark.parametrize("more", [2, 1000])
@pytest.mark.parametrize("layout", ["keep_start", "keep_end", "packed"])
def test_values_stay_at_their_tokens_when_rows_are_cut_and_packed(tiny_model, tokenizer, tmp_path, layout, more):
    rows = sampled_rows(tokenizer, count=12)
    samples = tokenized(tokenizer, rows)
    max_length = more + min(sample["labels"].count(-100) for sample in samples)
    cut = {"packing": True} if layout == "packed" else {"truncation_mode": layout}
    cut |= {"max_length": max_length, "weighting": "iw_sft"}
    given = [{name: row[name] for name in ("prompt", "completion", "log_probs", "completion_ids")} for row in rows]
    if layout == "keep_end":
        given = [
            row | {"log_probs": own["expected"], "completion_ids": own["sampled"]}
            for row, own in zip(given, rows, strict=True)
        ]
    trainer = make_trainer(tiny_model, tmp_path, given, processing_class=tokenizer, **cut)
    kept = slice(-max_length, None) if layout == "keep_end" else slice(None, max_length)
    found = []
    for row in trainer.train_dataset:
        numbers, ids, codes = row["sample_id"], row["input_ids"], row[REF_LOG_PROBS]
        for number in numbers if layout == "packed" else [numbers]:
            length = len(samples[number]["input_ids"][kept])
            found.append(number)
            assert ids[:length] == samples[number]["input_ids"][kept]
            assert codes[:length] == expected(samples[number], rows[number])[kept]
            ids, codes = ids[length:], codes[length:]
        assert not ids and not codes
    assert 0 < len(found) == len(set(found)) and (len(found) == 12 or more == 2)


def test_what_is_cut_off_need_not_be_known(tokenizer):
    """Log-probabilities that were measured with the same cut are fewer; those of a row that is cut already, more."""
    rows = sampled_rows(tokenizer)
    samples = tokenized(tokenizer, rows)
    first = [next(place for place, label in enumerate(row["labels"]) if label != -100) for row in samples]
    length = sorted(first)[0] + 3
    fewer = [
        row | row_columns(row["sampled"][: max(0, length - start)], row["expected"][: max(0, length - start)])
        for row, start in zip(rows, first, strict=True)
    ]
    whole = [expected(*pair) for pair in zip(samples, rows, strict=True)]
    cut = [codes[:length] for codes in whole]
    aligned = align_log_probs(tokenized(tokenizer, fewer), tokenizer, length)[REF_LOG_PROBS][:]
    assert aligned == [codes + [UNKNOWN] * (len(every) - length) for codes, every in zip(cut, whole, strict=True)]
    already = samples.map(lambda row: {name: row[name][:length] for name in ("input_ids", "labels")})
    assert align_log_probs(already, tokenizer, length)[REF_LOG_PROBS][:] == cut
    with pytest.raises(UnalignedSample, match="is missing in completion_ids"):
        align_log_probs(tokenized(tokenizer, fewer), tokenizer)
    with pytest.raises(UnalignedSample, match="missing for the student"):
        align_log_probs(already, tokenizer, length + 1)


def with_one_merge_less(chat_template: str, texts: list[str]):
    """A tokenizer of merges of bytes, and one that lacks a merge of those that some of the texts need."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )

    def made(lacking: int | None):
        content = json.loads(bpe.to_str())
        if lacking is not None:
            del content["model"]["merges"][lacking]
        return PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(json.dumps(content)),
            eos_token="<|im_end|>",
            additional_special_tokens=special[1:],
            chat_template=chat_template,
        )

    teacher = made(None)
    for number in range(len(json.loads(bpe.to_str())["model"]["merges"])):
        student = made(number)
        if 0 < sum(teacher.encode(text) != student.encode(text) for text in texts) < len(texts):
            return teacher, student
    raise AssertionError("no merge matters")


def test_a_tokenizer_that_differs_in_one_merge_is_refused(tokenizer):
    """With the first place, both tokens and how many rows it concerns; its own are taken."""
    texts = ["the sum is 12", "3 4 5 3 4 5", "and the sum of that is 24", "x"]
    teacher, student = with_one_merge_less(tokenizer.chat_template, texts)
    rows = []
    for text in texts:
        ids = teacher.encode(text, add_special_tokens=False) + [teacher.eos_token_id]
        rows.append({"prompt": [{"role": "user", "content": "?"}]})
        rows[-1] |= {"completion": [{"role": "assistant", "content": text}], **row_columns(ids, [-1.0] * len(ids))}
    differing = [text for text in texts if teacher.encode(text) != student.encode(text)]
    assert 0 < len(differing) < len(texts)
    align_log_probs(tokenized(teacher, rows), teacher)
    with pytest.raises(UnalignedSample) as error:
        align_log_probs(tokenized(student, rows), student)
    assert error.value.row == texts.index(differing[0])
    ours, theirs = (tok.encode(differing[0], add_special_tokens=False) for tok in (student, teacher))
    place = next(place for place, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1])
    message = str(error.value)
    assert f"token {place + 1} is {theirs[place]} {teacher.decode([theirs[place]])!r} in completion_ids" in message
    assert f"and {ours[place]} {student.decode([ours[place]])!r} for the student" in message
    assert f"({len(differing)} of 4 samples differ)" in message and "glow-trl loss --write_log_probs" in message


@pytest.mark.parametrize("change", ["another", "one less", "one more", "end token only"])
def test_one_wrong_token_in_many_rows_is_found(tokenizer, change):
    rows = sampled_rows(tokenizer, count=40)
    ids = rows[31]["sampled"]
    if change == "another":
        ids = [*ids[:-2], ids[-2] + 1, ids[-1]]
    elif change == "one less":
        ids = ids[:-2]
    elif change == "one more":
        ids = [*ids, ids[0]]
    else:
        ids = [tokenizer.eos_token_id]
    rows[31] |= row_columns(ids, [-1.0] * len(ids))
    with pytest.raises(UnalignedSample, match=r"sample 31 of the training set .*\(1 of 40 samples differ\)") as error:
        align_log_probs(tokenized(tokenizer, rows), tokenizer)
    assert error.value.row == 31


def test_rows_without_or_with_damaged_columns_are_named(tokenizer):
    rows = sampled_rows(tokenizer)
    bare = [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows]
    with pytest.raises(UserError, match="the training set has no column 'log_probs'"):
        align_log_probs(tokenized(tokenizer, bare), tokenizer)
    some = tokenized(tokenizer, [*rows[:2], rows[2] | {"log_probs": None, "completion_ids": None}, *rows[3:]])
    with pytest.raises(
        UnalignedSample, match=r"sample 2 of the training set has no log-probabilities \(1 of 9 samples\)"
    ):
        align_log_probs(some, tokenizer)
    for column, value, said in (
        ("log_probs", "AAA", "damaged"),
        ("completion_ids", "not base64", "damaged"),
        ("completion_ids", encode_token_ids([1]), "log_probs has .* values and completion_ids 1"),
    ):
        damaged = [*rows[:4], rows[4] | {column: value}, *rows[5:]]
        with pytest.raises(UserError, match=f"sample 4 of the training set: .*{said}"):
            align_log_probs(tokenized(tokenizer, damaged), tokenizer)


def test_unknown_values_stay_unknown_and_count_in_no_mean(tokenizer):
    row = sampled_rows(tokenizer, count=2)[1]
    values: list[float | None] = list(row["expected"])
    values[0] = None
    aligned = align_log_probs(
        tokenized(tokenizer, [row | {"log_probs": values, "completion_ids": row["sampled"]}]), tokenizer
    )
    known = log_probs_of(np.array(aligned[REF_LOG_PROBS][0], dtype=np.uint16))
    assert np.isfinite(known).sum() == len(values) - 1
    assert initial_losses(aligned) == pytest.approx([-np.mean(values[1:])], abs=3e-4)
