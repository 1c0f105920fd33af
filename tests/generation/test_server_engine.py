"""The server engine against vLLM's real server, and against a proxy before it that fails the way servers do."""

import dataclasses
import email.utils
import itertools
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from glow_trl.errors import ServiceError, UserError
from glow_trl.generation import SamplingConfig, create_engine, render_conversation
from glow_trl.generation.client import retry_after
from glow_trl.generation.loading import load_tokenizer
from glow_trl.generation.server_engine import _log_probs, _message_text
from helpers.faulty_proxy import FaultyProxy
from helpers.token_probabilities import STOPPING, TEMPERED, check_engine


pytestmark = pytest.mark.slow

TEXTS = ["1+2=", "3*4+5-6=", "a", "abcdefgh: 1;", "7", "9-8=", "what is 1+1?", "zz", "5*5*5*5="]
CONVERSATIONS = [[{"role": "user", "content": text}] for text in TEXTS]


def message(status: int, text: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, headers, json.dumps({"error": {"message": text}}).encode()


@pytest.fixture(scope="module")
def engine(openai_server):
    with create_engine("server", "teacher", base_url=openai_server) as engine:
        yield engine


@pytest.fixture(scope="module")
def straight(engine) -> dict:
    return {(i, s): text for i, s, text in engine.stream_samples(CONVERSATIONS, SAMPLING)}


SAMPLING = SamplingConfig(num_samples=3, temperature=1, top_p=1, max_new_tokens=12, seed=5)


def test_greedy_completions_equal_those_of_transformers(engine, vllm_model):
    """Conversations, strings and token ids; ids, texts, lengths and reasons to stop; also with stop strings."""
    tokenizer = load_tokenizer(vllm_model)
    rendered = [render_conversation(messages, tokenizer) for messages in CONVERSATIONS]
    local = create_engine("transformers", vllm_model, dtype="float32")
    for stop in ((), ("5", "ab")):
        sampling = SamplingConfig(temperature=0, max_new_tokens=24, stop=stop)
        expected = local.generate(rendered, sampling)
        assert engine.generate(CONVERSATIONS, sampling) == expected
        assert engine.generate(rendered, sampling) == expected
        assert engine.generate(TEXTS, sampling) == local.generate(TEXTS, sampling)


def test_log_probs_are_the_models_own_however_it_was_sampled(engine, vllm_model):
    """Of texts, and of conversations the same as of their token ids."""
    check_engine(engine, vllm_model, TEXTS)
    tokenizer = load_tokenizer(vllm_model)
    rendered = [render_conversation(messages, tokenizer) for messages in CONVERSATIONS]
    for sampling in (TEMPERED, STOPPING):
        asked = dataclasses.replace(sampling, log_probs=True)
        for ours, theirs in zip(engine.generate(CONVERSATIONS, asked), engine.generate(rendered, asked), strict=True):
            for one, other in zip(ours, theirs, strict=True):
                assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
                assert one.token_ids == other.token_ids and one.text == other.text


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_server_that_turns_log_probs_down_is_asked_without(openai_server, straight, caplog, status):
    """Which is said once; a prompt that it turns down as well is refused as ever."""

    def fault(_, headers, body):
        if b"unspeakable" in body:
            return message(400, "not this one")
        return message(status, "no logprobs") if b"logprobs" in body else None

    with FaultyProxy(openai_server, fault) as proxy:
        engine = create_engine("server", "teacher", base_url=proxy.url, concurrency=4)
        asked = dataclasses.replace(SAMPLING, log_probs=True)
        refused = []
        prompts = [*CONVERSATIONS, "unspeakable"]
        samples = engine.stream_samples(prompts, asked, on_refused=lambda *refusal: refused.append(refusal))
        assert {(i, s): text for i, s, text in samples} == straight
        assert refused == [(len(CONVERSATIONS), "not this one")]
        assert caplog.text.count("turns log_probs down (") == 1 and "no logprobs" in caplog.text
        # Of each connection at most one
        assert len(proxy.times) <= len(straight) + 4 + 2 * 3


def test_log_probs_after_sampling_are_refused_before_anything_is_drawn(openai_server, straight):
    """As those of `trl vllm-serve` are, which at temperature 1 over the whole vocabulary are the model's own."""
    processed = {"top_logprobs": [{"3": 0.0, "7": -9999.0}], "token_logprobs": [0.0], "tokens": ["3"]}

    def fault(_, headers, body):
        asked = json.loads(body)
        if asked.get("logprobs") == 2 and asked["top_k"] == 1 == asked["max_tokens"]:
            return 200, {}, json.dumps({"choices": [{"text": "3", "logprobs": processed}]}).encode()
        return None

    with FaultyProxy(openai_server, fault) as proxy:
        engine = create_engine("server", "teacher", base_url=proxy.url, concurrency=4)
        with pytest.raises(UserError, match="--logprobs-mode raw_logprobs"):
            engine.generate(CONVERSATIONS, dataclasses.replace(TEMPERED, log_probs=True))
        assert len(proxy.times) == 1
        found = engine.stream_samples(CONVERSATIONS, dataclasses.replace(SAMPLING, log_probs=True))
        assert {(i, s): dataclasses.replace(text, log_probs=None) for i, s, text in found} == straight


def test_log_probs_count_only_with_the_tokens_that_they_belong_to():
    """In the forms of several servers."""
    chat = {"content": [{"token": "a", "logprob": -1.0}, {"token": "b5", "logprob": -2.0}]}
    completions = {"tokens": ["a", "b5"], "token_logprobs": [-1.0, -2.0]}
    for given in (chat, completions):
        assert _log_probs(given, [7, 8], ()) == ([7, 8], [-1.0, -2.0])
        assert _log_probs(given, [7, 8], ("5",)) == ([7, 8], [-1.0])
        assert _log_probs(given, [], ()) == ([], None)
        assert _log_probs(given, [7], ()) == ([7], None)
    with_ids = {"content": [entry | {"id": number} for number, entry in enumerate(chat["content"])]}
    assert _log_probs(with_ids, [], ()) == ([0, 1], [-1.0, -2.0])
    assert _log_probs({"tokens": ["a"], "token_logprobs": [None]}, [7], ()) == ([7], None)
    assert _log_probs({"content": None}, [7], ()) == ([7], None)


def test_single_missing_samples_are_what_they_would_have_been(engine, straight):
    assert len(straight) == 3 * len(CONVERSATIONS) and len({text.text for text in straight.values()}) > 20
    done = {pair for number, pair in enumerate(sorted(straight)) if number % 4}
    rest = {(i, s): text for i, s, text in engine.stream_samples(CONVERSATIONS, SAMPLING, done)}
    assert rest == {pair: straight[pair] for pair in straight.keys() - done}


def test_a_caller_that_stops_early_is_not_held_up(openai_server):
    """What has not been asked for is not asked for any more."""
    with FaultyProxy(openai_server, lambda *_: None) as proxy:
        engine = create_engine("server", "teacher", base_url=proxy.url, concurrency=4)
        samples = engine.stream_samples(CONVERSATIONS * 20, SamplingConfig(8, 1, 1, 400))
        next(samples)
        samples.close()
        assert 0 < len(proxy.times) < 8 * 20 * len(CONVERSATIONS) / 2


def test_what_passes_is_tried_again_and_changes_nothing(openai_server, straight):
    """Every kind of passing failure, for a third of the requests."""
    faults = itertools.cycle(
        [message(429, "slow down", **{"Retry-After": "0.2"}), "drop", message(503, "busy"), message(500, "oops")]
    )
    with FaultyProxy(openai_server, lambda number, _: next(faults) if number % 3 == 1 else None) as proxy:
        engine = create_engine("server", "teacher", base_url=proxy.url, concurrency=4)
        assert {(i, s): text for i, s, text in engine.stream_samples(CONVERSATIONS, SAMPLING)} == straight
        assert len(proxy.times) > len(straight)
        assert proxy.busiest <= 4


def test_when_the_server_asks_for_time_no_request_comes_before(openai_server):
    """`Retry-After` holds for all requests: they go to one account."""
    with FaultyProxy(
        openai_server, lambda number, _: message(429, "later", **{"Retry-After": "2"}) if number == 3 else None
    ) as proxy:
        engine = create_engine("server", "teacher", base_url=proxy.url, concurrency=1)
        assert len(list(engine.stream_samples(CONVERSATIONS[:6], SamplingConfig(max_new_tokens=2)))) == 6
    gaps = [after - before for before, after in itertools.pairwise(proxy.times)]
    assert gaps[3] >= 2


def test_requests_are_spaced_by_the_rate_limit(openai_server):
    with FaultyProxy(openai_server, lambda *_: None) as proxy:
        engine = create_engine("server", "teacher", base_url=proxy.url, requests_per_minute=240)
        list(engine.stream_samples(CONVERSATIONS, SamplingConfig(max_new_tokens=2)))
    # A request may be late on its way, and the next one early after it: the whole stretch tells
    assert proxy.times[-1] - proxy.times[0] >= 0.25 * (len(CONVERSATIONS) - 1) - 0.1


def test_a_server_that_stays_away_is_an_error_after_the_retries(openai_server):
    with FaultyProxy(openai_server, lambda number, _: None if number < 4 else message(503, "closing")) as proxy:
        engine = create_engine("server", "teacher", base_url=proxy.url, concurrency=2, max_retries=2)
        drawn = []
        with pytest.raises(ServiceError, match=r"gone or overloaded: status 503: closing, after 3 tries"):
            for index, sample, _ in engine.stream_samples(CONVERSATIONS, SAMPLING):
                drawn.append((index, sample))
    assert len(drawn) == 4


def test_a_server_that_dies_is_told_from_one_that_is_busy(openai_server):
    with FaultyProxy(openai_server, lambda number, _: None if number < 4 else "die") as proxy:
        engine = create_engine("server", "teacher", base_url=proxy.url, concurrency=2, max_retries=1)
        drawn = []
        with pytest.raises(ServiceError, match="no connection"):
            for index, sample, _ in engine.stream_samples(CONVERSATIONS, SAMPLING):
                drawn.append((index, sample))
    assert len(drawn) >= 3


def test_the_key_comes_from_the_environment(openai_server, monkeypatch):
    def guard(_, headers):
        return None if headers.get("Authorization") == "Bearer sesame" else message(401, "wrong key")

    with FaultyProxy(openai_server, guard) as proxy:
        options = {"base_url": proxy.url, "api_key_env": "TEACHER_KEY"}
        sampling = SamplingConfig(max_new_tokens=2)
        with pytest.raises(UserError, match="status 401: wrong key; .*api_key_env"):
            create_engine("server", "teacher", **options).generate(TEXTS[:1], sampling)
        monkeypatch.setenv("TEACHER_KEY", "sesame")
        assert create_engine("server", "teacher", **options).generate(TEXTS[:1], sampling)


def test_what_the_user_got_wrong_is_said(openai_server):
    with pytest.raises(UserError, match="has 'teacher', not 'pupil'"):
        create_engine("server", "pupil", base_url=openai_server)
    with pytest.raises(UserError, match="nothing answers at http://127.0.0.1:9/v1"):
        create_engine("server", "teacher", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match=r"status 404.*mostly in /v1"):
        create_engine("server", "teacher", base_url=openai_server.removesuffix("/v1")).generate(TEXTS, SAMPLING)
    with pytest.raises(UserError, match="top_p must be in"):
        create_engine("server", "teacher", base_url=openai_server, extra_body={"top_p": 7}).generate(TEXTS, SAMPLING)
    for options, named in (
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"base_url": "http://me:secret@host/v1"}, "base_url holds"),
        ({"concurrency": 0}, "concurrency"),
        ({"requests_per_minute": -1}, "requests_per_minute"),
    ):
        with pytest.raises(UserError, match=named):
            create_engine("server", "teacher", **{"base_url": openai_server, **options})


def test_a_server_that_refuses_everything_is_not_asked_to_the_end(openai_server):
    with FaultyProxy(openai_server, lambda *_: message(400, "not today")) as proxy:
        engine = create_engine("server", "teacher", base_url=proxy.url, concurrency=2)
        with pytest.raises(UserError, match="turns every prompt down: not today"):
            list(engine.stream_samples(TEXTS * 20, SAMPLING, on_refused=lambda *_: None))
        assert len(proxy.times) < 20


def test_a_prompt_too_long_is_refused_and_one_with_little_room_is_answered(engine):
    refused = []
    prompts = ["1+2=", "1" * 600, "3" * 500, [{"role": "user", "content": "3" * 480}]]
    sampling = SamplingConfig(temperature=0, max_new_tokens=100)
    drawn = list(engine.stream_samples(prompts, sampling, on_refused=lambda *refusal: refused.append(refusal)))
    room = {2: 12, 3: 512 - 480 - 6}
    assert {index for index, _, _ in drawn} == {0, 2, 3}
    assert all(generation.n_tokens <= room[index] for index, _, generation in drawn if index)
    ((index, reason),) = refused
    assert index == 1 and "maximum context length" in reason


def test_time_to_wait_as_seconds_or_date():
    def response(value):
        return httpx.Response(429, headers={"Retry-After": value})

    assert retry_after(response("1.5")) == 1.5
    assert retry_after(httpx.Response(429)) is None and retry_after(response("soon")) is None
    later = email.utils.format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3000 < retry_after(response(later)) <= 3600


def test_reasoning_sent_apart_is_put_back():
    assert _message_text({"content": "\n\n4", "reasoning_content": "\n2+2\n"}) == "<think>\n2+2\n</think>\n\n4"
    assert _message_text({"content": None, "reasoning": "2+2"}) == "<think>\n2+2\n</think>\n\n"
    assert _message_text({"content": "<think>\na\n</think>\n\nb"}) == "<think>\na\n</think>\n\nb"
