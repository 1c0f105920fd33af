"""The log-probabilities that an engine gives with its samples, against the model's own with full logits in float64."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import torch

from glow_trl.generation import Engine, Generation, SamplingConfig
from glow_trl.generation.loading import load_model, load_tokenizer


TEMPERED = SamplingConfig(4, temperature=0.6, top_p=0.95, max_new_tokens=24, seed=3)
STOPPING = SamplingConfig(4, temperature=1, top_p=1, max_new_tokens=40, seed=5, stop=("5", "ab", "x."))
SAMPLINGS = (TEMPERED, STOPPING, SamplingConfig(temperature=0, max_new_tokens=24))


def check_engine(engine: Engine, model: str, prompts: Sequence[str]) -> None:
    """At every temperature, with stop strings, end tokens and cuts by length; what is drawn is what it was without."""
    ends: Counter[str] = Counter()
    for sampling in SAMPLINGS:
        found = engine.generate(prompts, dataclasses.replace(sampling, log_probs=True))
        bare = [[dataclasses.replace(generation, log_probs=None) for generation in some] for some in found]
        assert engine.generate(prompts, sampling) == bare
        ends += check_generations(model, prompts, found)
    assert min(ends[end] for end in ("end token", "stop string", "length")) >= 3, ends


def check_generations(model: str, prompts: Sequence[str], found: Sequence[Sequence[Generation]]) -> Counter[str]:
    """How many of them ended how."""
    network, tokenizer = load_model(model, "float32").double(), load_tokenizer(model)
    ends: Counter[str] = Counter()
    for prompt, generations in zip(prompts, found, strict=True):
        prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
        for generation in generations:
            ids = torch.tensor([prompt_ids + generation.token_ids])
            with torch.no_grad():
                log_probs = network(input_ids=ids).logits[0, len(prompt_ids) - 1 : -1].log_softmax(-1)
            expected = log_probs.gather(1, ids[0, len(prompt_ids) :, None])[:, 0]
            assert generation.log_probs is not None
            given = len(generation.log_probs)
            torch.testing.assert_close(
                torch.tensor(generation.log_probs, dtype=torch.float64), expected[:given], atol=1e-4, rtol=0
            )
            ended = generation.token_ids[-1] == tokenizer.eos_token_id
            ends["end token" if ended else "stop string" if generation.finish_reason == "stop" else "length"] += 1
            if generation.finish_reason == "length" or ended:
                assert given == len(generation.token_ids)
                continue
            # As many as do not reach over the text's end, and not one less
            texts = [tokenizer.decode(generation.token_ids[:n], skip_special_tokens=True) for n in (given, given + 1)]
            assert generation.text.startswith(texts[0]) and not generation.text.startswith(texts[1])
    return ends
