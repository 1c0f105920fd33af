"""Generation by a server with OpenAI's API: `vllm serve`, `trl vllm-serve`, or a hosted one."""

import asyncio
import contextlib
import logging
import os
import queue
import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import httpx

from ..errors import UserError
from ..stages.config import as_mapping, one_line
from .base import (
    Generation,
    OnRefused,
    Prompt,
    SampleEngine,
    SamplingConfig,
    cut_at_stop,
    refuse,
    sample_seed,
    tokens_within,
)
from .client import Client, RateLimit, Refused, error_message
from .prompts import is_conversation


logger = logging.getLogger(__name__)

# So many prompts turned down before any was answered: it is not the prompts
_HOPELESS = 8
_CHECK_TIMEOUT = 30.0
# What vLLM's server writes for the logarithm of 0
_IMPOSSIBLE = -9999.0


class ServerEngine(SampleEngine):
    """Samples from a server with OpenAI's API. Conversations go to `/chat/completions`, other prompts to
    `/completions`.

    Every sample is a request with a seed of its own, so that a run which is started again asks for what is missing
    and nothing else. Whether it gets the same completions as it would have is the server's to say: vLLM's on a CPU
    was found to give them, on a GPU it does with `VLLM_BATCH_INVARIANT=1`; most hosted servers call their seed "best
    effort". A prompt is paid for with every sample; vLLM keeps it in its prefix cache.

    A model's reasoning that the server sends apart from its answer (`reasoning_content` or `reasoning`) is put back
    before it as `<think>` ... `</think>`, the way Qwen3 writes it.

    Log-probabilities (`log_probs`) are asked for the way OpenAI's API has it, and counted where the server says which
    tokens they belong to, as vLLM's and llama.cpp's do: the API itself has no token ids. vLLM's are the model's own,
    but those of `trl vllm-serve`, which are of what is left after temperature and `top_p`, are refused: start it with
    `--logprobs-mode raw_logprobs`. A server that turns the question down is asked without it.

    Args:
        model_name_or_path (`str`):
            The name under which the server has the model.
        base_url (`str`, *optional*, defaults to `"http://localhost:8000/v1"`):
            Where the API begins.
        api_key_env (`str`, *optional*, defaults to `"OPENAI_API_KEY"`):
            Environment variable that holds the key, if the server wants one. The key itself is never an option, and
            is not recorded.
        concurrency (`int`, *optional*, defaults to `64`):
            Most requests at a time.
        requests_per_minute (`float`, *optional*):
            Most requests started in a minute, evenly spaced; no limit by default.
        max_retries (`int`, *optional*, defaults to `6`):
            How often a request is tried again that failed for a reason that may pass: after about 1, 2, 4, ... seconds
            with jitter, at most a minute, or when the server says (`Retry-After`).
        timeout (`float`, *optional*, defaults to `1800`):
            Seconds to wait for one answer.
        chat_template_kwargs (`dict`, *optional*):
            Variables of the chat template, `{enable_thinking: true}` for example. vLLM and SGLang know it.
        extra_body (`dict`, *optional*):
            Further fields of every request; `null` leaves one out. A server that wants its limit under another name:
            `{max_tokens: null, max_completion_tokens: 4096}`.

    Raises:
        UserError: nothing answers at `base_url`, the key is wrong, or an option is.
    """

    takes_messages = True
    incidental_options = frozenset(
        {"base_url", "api_key_env", "concurrency", "requests_per_minute", "max_retries", "timeout"}
    )

    def __init__(
        self,
        model_name_or_path: str,
        base_url: str = "http://localhost:8000/v1",
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        requests_per_minute: float | None = None,
        max_retries: int = 6,
        timeout: float = 1800.0,
        chat_template_kwargs: dict[str, Any] | str | None = None,
        extra_body: dict[str, Any] | str | None = None,
    ):
        check_url(base_url)
        for name, value, least in (("concurrency", concurrency, 1), ("max_retries", max_retries, 0)):
            if not isinstance(value, int) or value < least:
                raise UserError(f"engine_options: {name} is {value!r}: it must be a whole number of at least {least}")
        for name, limit in (("timeout", timeout), ("requests_per_minute", requests_per_minute)):
            if limit is not None and (not isinstance(limit, int | float) or not limit > 0):
                raise UserError(f"engine_options: {name} is {limit!r}: it must be a number above 0")
        self.model_name = model_name_or_path
        self.base_url = base_url.rstrip("/")
        self._settings: dict[str, Any] = {
            "timeout": float(timeout),
            "max_retries": max_retries,
            "concurrency": concurrency,
        }
        self._key = os.environ.get(api_key_env) or None
        self._requests_per_minute = requests_per_minute
        self._template_kwargs = as_mapping(chat_template_kwargs, "chat_template_kwargs")
        self._extra_body = as_mapping(extra_body, "extra_body")
        self._is_vllm = self._check(api_key_env)
        self._gives_log_probs = True

    def stream_samples(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingConfig,
        done: Container[tuple[int, int]] = (),
        on_refused: OnRefused | None = None,
    ) -> Iterator[tuple[int, int, Generation]]:
        wanted = (
            (index, sample)
            for index in range(len(prompts))
            for sample in range(sampling.num_samples)
            if (index, sample) not in done
        )
        results: queue.SimpleQueue = queue.SimpleQueue()
        told: set[int] = set()
        with _EventLoop(self._run(wanted, prompts, sampling, results)):
            while (result := results.get()) is not None:
                if isinstance(result, BaseException):
                    raise result
                index, sample, outcome = result
                if isinstance(outcome, Generation):
                    yield index, sample, outcome
                elif index not in told:
                    told.add(index)
                    refuse(index, str(outcome), on_refused)

    async def _run(self, wanted, prompts, sampling, results) -> None:
        """Put `(index, sample, generation or Refused)` into `results` as they come, at last an error or `None`."""
        limit = RateLimit(self._requests_per_minute)
        client = Client(self.base_url, self._key, limit=limit, **self._settings)

        refused: set[int] = set()
        answered = False

        async def work() -> None:
            nonlocal answered
            for index, sample in wanted:
                if index in refused:
                    continue
                seed = sample_seed(sampling.seed, index, sample)
                outcome = await self._answer(client, prompts[index], sampling, seed)
                if isinstance(outcome, Generation):
                    answered = True
                else:
                    refused.add(index)
                results.put((index, sample, outcome))
                if not answered and len(refused) >= _HOPELESS:
                    raise UserError(f"the server at {self.base_url} turns every prompt down: {outcome}")

        try:
            async with asyncio.TaskGroup() as group:
                if sampling.log_probs and not sampling.is_untempered and self._is_vllm:
                    await self._check_log_probs(client)
                for _ in range(self._settings["concurrency"]):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            results.put(errors.exceptions[0])
        except BaseException as error:
            results.put(error)
            raise
        else:
            results.put(None)
        finally:
            await client.close()

    async def _answer(
        self, client: Client, prompt: Prompt, sampling: SamplingConfig, seed: int
    ) -> Generation | Refused:
        path, body = self._request(prompt, sampling, seed)
        try:
            if sampling.log_probs and self._gives_log_probs:
                try:
                    return self._generation(await self._post(client, path, self._with_log_probs(body)), sampling.stop)
                except (Refused, UserError) as error:
                    answer = await self._post(client, path, body)
                    # It was not the prompt
                    if self._gives_log_probs:
                        self._gives_log_probs = False
                        logger.warning("%s turns log_probs down (%s): it is asked without", self.base_url, error)
                    return self._generation(answer, sampling.stop)
            return self._generation(await self._post(client, path, body), sampling.stop)
        except Refused as error:
            return error

    async def _post(self, client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return await client.post(path, body)
        except Refused as error:
            # Prompt and `max_tokens` together may be too long: then the model may write as much as there is room
            if "max_tokens" not in body or "context length" not in str(error):
                raise
            return await client.post(path, await self._shortened(client, body, error))

    async def _shortened(self, client: Client, body: dict[str, Any], error: Refused) -> dict[str, Any]:
        """The request with a `max_tokens` that there is room for."""
        if self._is_vllm:
            names = ("model", "prompt", "messages", "chat_template", "chat_template_kwargs", "add_special_tokens")
            question = {name: body[name] for name in names if name in body}
            if isinstance(question.get("prompt"), list):
                raise error
            answer = await client.post(f"{self.base_url.removesuffix('/v1')}/tokenize", question, "max_model_len")
            room = answer["max_model_len"] - answer["count"]
            if room < 1:
                raise error
            return body | {"max_tokens": room}
        if "messages" not in body:
            raise error
        return {name: value for name, value in body.items() if name != "max_tokens"}

    def _request(self, prompt: Prompt, sampling: SamplingConfig, seed: int) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {
            "model": self.model_name,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            "seed": seed,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if self._is_vllm:
            # What a request leaves open is filled from the checkpoint's generation config
            body |= {"top_k": sampling.top_k, "min_p": sampling.min_p, "repetition_penalty": 1.0}
            body["return_token_ids"] = True
        else:
            body |= {key: value for key in ("top_k", "min_p") if (value := getattr(sampling, key))}
        if is_conversation(prompt):
            body["messages"] = [dict(message) for message in prompt]
            if self._template_kwargs:
                body["chat_template_kwargs"] = self._template_kwargs
        else:
            body["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
            if isinstance(prompt, str) and self._is_vllm:
                body["add_special_tokens"] = False
        path = "/chat/completions" if "messages" in body else "/completions"
        return path, {key: value for key, value in (body | self._extra_body).items() if value is not None}

    async def _check_log_probs(self, client: Client) -> None:
        """Refuse log-probabilities after sampling: where one token only may be taken they leave no other possible."""
        body = {"model": self.model_name, "prompt": "1", "max_tokens": 1, "temperature": 1, "top_k": 1, "logprobs": 2}
        try:
            answer = await client.post("/completions", body)
        except Refused:  # the questions that matter will tell
            return
        found = answer["choices"][0].get("logprobs") or {}
        for values in found.get("top_logprobs") or ():
            if min(values.values()) <= _IMPOSSIBLE:
                raise UserError(
                    f"log_probs: the server at {self.base_url} gives the log-probabilities of what is left after "
                    "temperature and top_p, not the model's own: start it with --logprobs-mode raw_logprobs, or "
                    "sample with temperature 1, top_p 1, top_k 0 and min_p 0"
                )

    def _with_log_probs(self, body: dict[str, Any]) -> dict[str, Any]:
        # Of the token alone. Servers other than vLLM's may take 0 for none
        fields: dict[str, Any] = {"logprobs": True if "messages" in body else 0 if self._is_vllm else 1}
        if self._is_vllm:
            # Stop strings are looked for in the tokens' texts
            fields["return_tokens_as_token_ids"] = False
        return fields | body

    def _generation(self, answer: dict[str, Any], stop: Sequence[str]) -> Generation:
        choice = answer["choices"][0]
        if choice.get("finish_reason") == "content_filter":
            raise Refused("the server's content filter")
        message = choice.get("message")
        text = _message_text(message) if message is not None else choice.get("text") or ""
        token_ids = choice.get("token_ids") or []
        n_tokens = (answer.get("usage") or {}).get("completion_tokens")
        if n_tokens is None:
            n_tokens = len(token_ids)
        log_probs = None
        if choice.get("logprobs"):
            token_ids, log_probs = _log_probs(choice["logprobs"], token_ids, stop)
        is_cut = choice.get("finish_reason") == "length"
        return Generation(text, token_ids, n_tokens, "length" if is_cut else "stop", log_probs)

    def _check(self, api_key_env: str) -> bool:
        """Whether it is vLLM's server; errors before anything is asked for in earnest."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            response = httpx.get(
                f"{self.base_url}/models", headers=headers, timeout=_CHECK_TIMEOUT, follow_redirects=True
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UserError(
                f"base_url: nothing answers at {self.base_url} ({one_line(error)}); start the server first, such as "
                f"`vllm serve {self.model_name}`, or correct engine_options"
            ) from error
        if response.status_code in (401, 403):
            problem = "is not set" if self._key is None else "holds a key that it does not accept"
            raise UserError(
                f"the server at {self.base_url} wants an API key, and the environment variable {api_key_env} "
                f"{problem} ({error_message(response)})"
            )
        try:
            models = response.json()["data"] if response.status_code == 200 else []
            owners = {entry.get("owned_by") for entry in models}
            served = [str(entry.get("id")) for entry in models]
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        if "vllm" in owners and self.model_name not in served:
            raise UserError(
                f"model_name_or_path: the server at {self.base_url} has {', '.join(map(repr, served))}, "
                f"not {self.model_name!r}"
            )
        return "vllm" in owners

    def close(self) -> None:
        """Nothing is held between calls."""


class _EventLoop:
    """Runs a coroutine in a thread of its own: the caller may have an event loop too, and may stop at any time."""

    def __init__(self, coroutine: Any):
        self._loop = asyncio.new_event_loop()
        self._coroutine = coroutine
        self._task: asyncio.Task | None = None
        self._thread = threading.Thread(target=self._main, daemon=True, name="glow-trl-server-engine")

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._coroutine)
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> "_EventLoop":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: all is done
            self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(timeout=5)


def check_url(base_url: object) -> None:
    """Refuse what is no HTTP address, or holds a password, which would be recorded with the settings."""
    if not isinstance(base_url, str) or not base_url.startswith(("http://", "https://")):
        raise UserError(f"base_url: {base_url!r} is not an address such as http://localhost:8000/v1")
    if "@" in base_url.split("://", 1)[1].split("/", 1)[0]:
        raise UserError("base_url holds a user or password: put the key in an environment variable (api_key_env)")


def _log_probs(
    given: Mapping[str, Any], token_ids: list[int], stop: Sequence[str]
) -> tuple[list[int], list[float] | None]:
    """
    Token ids and log-probabilities of an answer's `logprobs`; `None` where these cannot be told to belong to those.
    Chat has a list of tokens, completions a list for each of their values.
    """
    if given.get("content") is not None:
        tokens = [entry.get("token") or "" for entry in given["content"]]
        values = [entry.get("logprob") for entry in given["content"]]
        token_ids = token_ids or [entry.get("id") for entry in given["content"]]
    else:
        tokens, values = given.get("tokens") or [], given.get("token_logprobs") or []
    if not len(tokens) == len(values) == len(token_ids) or None in values or None in token_ids:
        return token_ids if None not in token_ids else [], None
    text, stopped = cut_at_stop("".join(tokens), stop)
    within = tokens_within(text, len(tokens), lambda count: "".join(tokens[:count])) if stopped else len(tokens)
    return token_ids, values[:within]


def _message_text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if not reasoning:
        return content
    return f"<think>\n{reasoning.strip(chr(10))}\n</think>\n\n{content.lstrip(chr(10))}"
