"""Requests to a server: bounded in rate, tried again where that can help."""

import asyncio
import email.utils
import logging
import random
import time
from datetime import UTC, datetime
from typing import Any

import httpx

from ..errors import ServiceError, UserError
from ..stages.config import one_line


logger = logging.getLogger(__name__)

# What passes by itself: too early, too many requests, or a server that is starting, overloaded or behind a proxy
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_LONGEST_WAIT = 60.0
_CONNECT_TIMEOUT = 10.0


class Refused(Exception):
    """The server turns one request down for what is in it (status 400, 413 or 422)."""


class RateLimit:
    """
    Spaces the starts of requests evenly, by `requests_per_minute`, and holds them all back when the server says so.
    """

    def __init__(self, requests_per_minute: float | None):
        self._interval = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        """Return when the next request may start."""
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + self._interval
        while start > now:
            await asyncio.sleep(start - now)
            now = time.monotonic()

    def hold(self, seconds: float) -> None:
        """Let no request start before so many seconds have passed."""
        self._next = max(self._next, time.monotonic() + seconds)


class Client:
    """
    An asynchronous client of one server: `api_key` is sent as bearer token, `timeout` is in seconds, `limit` says when
    requests may start, and `concurrency` is the number of connections to keep.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        timeout: float,
        max_retries: int,
        limit: RateLimit,
        concurrency: int,
    ):
        self._url = base_url.rstrip("/")
        self._max_retries = max_retries
        self._limit = limit
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout, connect=_CONNECT_TIMEOUT),
            limits=httpx.Limits(max_connections=concurrency + 1, max_keepalive_connections=concurrency + 1),
            follow_redirects=True,
        )

    async def post(self, path: str, body: dict[str, Any], expected: str = "choices") -> dict[str, Any]:
        """
        The JSON object that the server answers at a path below `base_url`, or at a whole address; `expected` is what
        it must have.

        Failed connections, timeouts and statuses that pass by themselves are tried again, after a time that doubles
        with every try, up to a minute, with jitter, or after the time that the server asks for (`Retry-After`).

        Raises:
            Refused: the server turns this request down.
            ServiceError: all tries failed.
            UserError: the server turns every request down: wrong key, path, model or parameter.
        """
        started = time.monotonic()
        for attempt in range(self._max_retries + 1):
            await self._limit.wait()
            asked_for = None
            try:
                response = await self._http.post(path if path.startswith("http") else self._url + path, json=body)
                if response.status_code == 200:
                    return _answer(response, expected)
                problem = f"status {response.status_code}: {error_message(response)}"
                if response.status_code in (400, 413, 422):
                    raise Refused(error_message(response))
                if response.status_code not in _PASSING:
                    raise UserError(await self._explain(path, response, body.get("model")))
                # The account is out of money rather than out of time: that does not pass
                if response.status_code == 429 and "insufficient_quota" in response.text:
                    raise ServiceError(f"the server at {self._url} answers {problem}")
                asked_for = retry_after(response)
            except (httpx.TransportError, _Unfinished) as error:
                problem = _describe(error)
            if attempt < self._max_retries:
                pause = min(_LONGEST_WAIT, 2.0**attempt) * random.uniform(0.5, 1.0)
                if asked_for is not None:
                    # One client's limit is that of all its requests
                    self._limit.hold(asked_for)
                    pause = random.uniform(0.0, 0.5)
                logger.info("%s: %s; trying again", self._url, problem)
                await asyncio.sleep(pause)
        raise ServiceError(
            f"the server at {self._url} is gone or overloaded: {problem}, after {self._max_retries + 1} tries in "
            f"{time.monotonic() - started:.0f} s"
        )

    async def _explain(self, path: str, response: httpx.Response, model: object) -> str:
        message = f"the server at {self._url} answers {path} with status {response.status_code}: "
        message += error_message(response)
        if response.status_code in (401, 403):
            return f"{message}; is the key in the environment variable `api_key_env` right?"
        if response.status_code == 404:
            served = await self.served_models()
            if served and model not in served:
                return f"{message}; the server has {', '.join(map(repr, served))}, not {model!r}"
            return f"{message}; does base_url end as the server's API begins, mostly in /v1?"
        return message

    async def served_models(self) -> list[str]:
        """The names under which the server has models; empty where it does not tell."""
        try:
            return [str(entry["id"]) for entry in (await self._http.get(f"{self._url}/models")).json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return []

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class _Unfinished(Exception):
    """An answer that is not one."""


def _answer(response: httpx.Response, expected: str) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError as error:
        raise _Unfinished(f"an answer that is not JSON ({one_line(error)})") from error
    if not isinstance(content, dict) or not content.get(expected):
        raise _Unfinished(f"an answer without `{expected}`")
    # A server that shuts down ends what it is at as an answer of status 200
    if expected == "choices" and content["choices"][0].get("finish_reason") in ("abort", "error"):
        raise _Unfinished("an answer that was broken off")
    return content


def _describe(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError):
        return f"no connection ({one_line(error)})"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer in time ({type(error).__name__})"
    return one_line(error)


def error_message(response: httpx.Response) -> str:
    """What the server says about an error, in one line of at most 300 characters."""
    try:
        content = response.json()
        error = content.get("error", content.get("detail", content.get("message", content)))
        text = error.get("message", error) if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        text = response.text or response.reason_phrase
    text = " ".join(str(text).split())
    return text if len(text) <= 300 else text[:297] + "..."


def retry_after(response: httpx.Response) -> float | None:
    """Seconds to wait, by the header `Retry-After`: a number of seconds, or a date."""
    value = response.headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (when - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None
