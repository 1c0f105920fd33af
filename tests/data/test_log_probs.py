"""The codec of log-probabilities and token ids: what goes in comes out, and what is none is refused."""

import json

import numpy as np
import pytest

from glow_trl.data.log_probs import (
    decode_log_probs,
    decode_token_ids,
    encode_log_probs,
    encode_token_ids,
    read_row,
    row_columns,
)
from glow_trl.errors import UserError


def test_log_probs_come_back_to_half_a_step_in_two_bytes_each():
    values = np.concatenate([[0.0, 1e-6, -31.99], -np.random.default_rng(0).exponential(2, 3000)])
    text = encode_log_probs(values)
    assert len(text) == -(-2 * len(values) // 3) * 4
    found = decode_log_probs(text)
    assert found.dtype == np.float32 and np.abs(found - np.minimum(values, 0)).max() <= 0.5 / 2048 + 1e-6
    # What was decoded is encoded to the same text
    assert encode_log_probs(found) == text
    assert decode_log_probs(encode_log_probs([-1e9, -np.inf])).tolist() == [pytest.approx(-32, abs=0.01)] * 2


def test_lists_json_and_texts_are_the_same_and_gaps_stay_gaps():
    values = [-0.5, None, -3, -0.0]
    for form in (values, json.dumps(values), encode_log_probs(values), encode_log_probs(values).encode()):
        np.testing.assert_array_equal(decode_log_probs(form), [-0.5, np.nan, -3, 0])
    for empty in ([], "", "[]", encode_log_probs([])):
        assert len(decode_log_probs(empty)) == len(decode_token_ids(empty)) == 0
    ids = [0, 151_645, 2**32 - 1]
    for form in (ids, json.dumps(ids), encode_token_ids(ids), np.array(ids)):
        assert decode_token_ids(form).tolist() == ids


@pytest.mark.parametrize("value", [[float("nan")], [-1, 0.01], ["-1"], [[-1.0]], [[-1], [-1, -2]], 5, None, {"a": -1}])
def test_what_is_no_list_of_log_probabilities_is_refused(value):
    with pytest.raises(UserError, match="^log_probs: "):
        encode_log_probs(value)
    with pytest.raises(UserError, match="^log_probs: "):
        decode_log_probs(value)


@pytest.mark.parametrize("value", [[-1], [1.5], [2**32], ["3"], [None], [float("nan")], 7, None])
def test_what_is_no_list_of_token_ids_is_refused(value):
    with pytest.raises(UserError, match="^completion_ids: "):
        decode_token_ids(value)


@pytest.mark.parametrize("text", ["AAA", "AAAA", "§§§§", "not base64!", "[-1", "[0.5]"])
def test_a_damaged_text_is_refused(text):
    """`AAAA` are three bytes."""
    with pytest.raises(UserError, match="^log_probs: "):
        decode_log_probs(text)


def test_there_is_one_value_for_each_token():
    columns = row_columns([3, 4], [-1.0, -2.0])
    ids, codes = read_row(columns)
    assert ids.tolist() == [3, 4] and codes.tolist() == [2048, 4096]
    with pytest.raises(UserError, match="log_probs has 1 values and completion_ids 2"):
        row_columns([3, 4], [-1.0])
    with pytest.raises(UserError, match="log_probs has 2 values and completion_ids 1"):
        read_row(columns | {"completion_ids": encode_token_ids([3])})
