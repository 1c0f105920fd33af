"""The teacher's chances that travel with its trajectories are those of what it writes."""

import math
import random
from collections import Counter

import pytest

from glow_trl.data.log_probs import decode_log_probs, decode_token_ids
from glow_trl.quickstart import VOCABULARY, QuickstartConfig
from glow_trl.quickstart.log_probs import with_log_probs
from glow_trl.quickstart.task import Question, Step
from glow_trl.recipes.built_model import BuiltModelConfig, build_tokenizer


DRAWN = 20_000
CHAINS = {
    # Two habits and a slip on one step, and lines that go on behind the asked letter
    "overrun": Question(2, 3, (Step("-", 5, True), Step("+", 6), Step("*", 4), Step("+", 2)), 2),
    # A wrong step that sets other habits off behind it, up to the most mistakes of one solution
    "mistakes": Question(0, 5, (Step("+", 4), Step("+", 3), Step("*", 5), Step("-", 6)), 4),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_text_is_as_likely_as_it_is_frequent(name):
    teacher, question, rng = QuickstartConfig().teacher(), CHAINS[name], random.Random(1)
    drawn = Counter(teacher.answer(question, rng).text for _ in range(DRAWN))
    rows = [{"problem": question.text, "completion": text} for text in drawn]
    tokenizer = build_tokenizer(BuiltModelConfig(), [question.text, *drawn], VOCABULARY)
    total = 0.0
    for row in with_log_probs(rows, teacher, tokenizer):
        log_probs = decode_log_probs(row["log_probs"]).astype(float)
        assert decode_token_ids(row["completion_ids"]).tolist() == tokenizer(row["completion"])["input_ids"]
        chance = math.exp(log_probs.sum())
        # In steps of 1/2048 nats
        tolerance = 5 * math.sqrt(chance * (1 - chance) / DRAWN) + chance * len(log_probs) / 4096
        assert abs(drawn[row["completion"]] / DRAWN - chance) < tolerance, row["completion"]
        total += chance
    assert total == pytest.approx(1, abs=0.005) and len(drawn) > 20
