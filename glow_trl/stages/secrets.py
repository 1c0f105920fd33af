"""
Tokens, keys and passwords: which settings hold one, what one looks like, and how it is kept out of what is written.

A secret is known by the name that it stands under (`hub_token`, `api_key`, `Authorization`), by its form (`hf_...`,
the password in a URL), or because it was seen so before: in a file, on the command line, in an environment variable.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus


HIDDEN = "***"
# Where a recipe's run hands the secrets in a stage's settings to the stage, which finds the others in a file
HANDED_OVER = "GLOW_TRL_HANDED_OVER"

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS = frozenset(
    "password passwd passphrase secret secrets credential credentials authorization auth bearer cookie apikey "
    "authtoken accesstoken hftoken".split()
)
_BEFORE_KEY = frozenset(
    "api access secret private auth subscription account signing encryption master service license deploy ssh".split()
)
# A token of a text, or of a count: not of access
_BEFORE_TEXT_TOKEN = frozenset(
    "pad padding eos bos unk sep cls mask image video audio vision stop end start begin special think thinking turn "
    "response boi eoi eot eom fim prefix suffix middle system assistant tool next per first last max min num new best "
    "extra added each newline no target".split()
)
_IN_QUERIES = frozenset(("key", "sig", "signature"))
# Shorter ones are likely to be words of other texts too
_LEAST_LENGTH = 6

_USER_IN_URL = re.compile(r"(?P<before>\b[a-zA-Z][\w+.-]*://)(?P<value>[^\s/?#\"']+)(?=@)")
_FORMS = re.compile(
    r"(?P<before>)(?P<value>\b(?:(?:hf_|gh[pousr]_|glpat-|xox[abps]-|AKIA)[A-Za-z0-9-]{16,}|sk-[\w-]{16,}"
    r"|github_pat_\w{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+))"
)
_BEARER = re.compile(r"(?P<before>(?i:\bbearer ))(?P<value>[^\s\"',]{8,})")
_ASSIGNED = re.compile(r"(?P<before>(?P<query>[?&])?(?P<name>[A-Za-z][\w.-]*)=)(?P<value>[^\s\"'&;,#=?]+=*)")
_QUOTED = re.compile(r"(?P<before>([\"'])(?P<name>[\w.-]+)\2\s*:\s*([\"']))(?P<value>[^\"']+)")
# In a mapping that is written as YAML
_PAIR = re.compile(r"(?P<before>(?P<name>[A-Za-z][\w.-]*)[\"']?\s*:\s*[\"']?)(?P<value>[^\s\"',}\]]+)")
_IN_TEXTS = (_USER_IN_URL, _FORMS, _BEARER, _ASSIGNED, _QUOTED)

_known: set[str] = set()


def is_secret(name: str) -> bool:
    """Whether what stands under a name is a secret. Not under `pad_token`, `max_new_tokens` or `api_key_env`."""
    words = [word.lower() for word in _WORDS.findall(name.rpartition(".")[2])]
    last, before = (words[-1], words[-2] if len(words) > 1 else "") if words else ("", "")
    if last == "token":
        return before not in _BEFORE_TEXT_TOKEN
    # `PWD` by itself is the current folder
    return (
        last in _SECRET_WORDS
        or (last == "pwd" and before != "")
        or (last in ("key", "keys") and before in _BEFORE_KEY)
    )


def without_secrets(value: Any) -> Any:
    """
    `value` for a file: mappings, at any depth, without what stands under a secret's name, and texts as by [`hide`].
    """
    if isinstance(value, Mapping):
        kept = ((key, item) for key, item in value.items() if not _is_secret_item(key, item))
        return {hide(key) if isinstance(key, str) else key: without_secrets(item) for key, item in kept}
    if isinstance(value, list | tuple):
        options = [item if isinstance(item, str) else "" for item in ("", *value)]
        return [
            HIDDEN if _is_secret_item(option.removeprefix("--"), item) and option.startswith("--") else _argument(item)
            for option, item in zip(options, value, strict=False)
        ]
    return hide(value) if isinstance(value, str) else value


def hide(text: str) -> str:
    """A text without the secrets in it that are known, or look like some."""
    text = hide_known(text)
    for pattern in _IN_TEXTS:
        text = pattern.sub(_hidden, text)
    return text


def hide_known(value: Any) -> Any:
    """A text, or texts in lists and mappings, without the secrets that were seen before; for what may be data."""
    if isinstance(value, Mapping):
        return {key: hide_known(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_known(item) for item in value]
    if isinstance(value, str):
        for secret in sorted(_known, key=len, reverse=True):
            value = value.replace(secret, HIDDEN)
    return value


def remember(value: Any) -> None:
    """Know from now on the secrets in settings, in a command line or in a text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _add(item) if _is_secret_item(key, item) else remember(item)
    elif isinstance(value, str):
        for pattern in (*_IN_TEXTS, *([_PAIR] if _is_structured(value) else [])):
            for match in pattern.finditer(value):
                if _is_secret_match(match):
                    _add(match["value"].partition(":")[2] or match["value"])
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for option, item in zip(("", *value), value, strict=False):
            is_option = isinstance(option, str) and option.startswith("--")
            _add(item) if is_option and _is_secret_item(option, item) else remember(item)


def remember_environment() -> None:
    """Know from now on the secrets in environment variables. `PWD` is no password but the current folder."""
    remember({name: value for name, value in os.environ.items() if name != "PWD"})


@contextlib.contextmanager
def handing_over(settings: Mapping[str, Any]) -> Iterator[None]:
    """
    Hand the settings with secrets in them to the stage that the block starts, here or in a process of its own: in the
    environment, as others can read command lines.
    """
    secret = {key: value for key, value in settings.items() if without_secrets({key: value}) != {key: value}}
    os.environ[HANDED_OVER] = json.dumps(secret, default=str)
    try:
        yield
    finally:
        os.environ.pop(HANDED_OVER, None)


def _argument(value: Any) -> Any:
    if isinstance(value, str) and _is_structured(value):
        value = _PAIR.sub(_hidden, value)
    if isinstance(value, str) and value.startswith("--"):
        name, equals, given = value.partition("=")
        return name + equals + (HIDDEN if given and is_secret(name) else _argument(given) if given else "")
    return without_secrets(value)


def _hidden(match: re.Match) -> str:
    return match["before"] + HIDDEN if _is_secret_match(match) else match[0]


def _is_secret_match(match: re.Match) -> bool:
    groups = match.groupdict()
    if groups.get("name") is None:
        return True
    words = _WORDS.findall(groups["name"].lower())
    in_query = bool(groups.get("query") and words) and words[-1] in _IN_QUERIES
    return in_query or _is_secret_item(groups["name"], groups["value"])


def _is_secret_item(name: Any, value: Any) -> bool:
    if not isinstance(name, str) or value in (None, "") or isinstance(value, bool) or not is_secret(name):
        return False
    if isinstance(value, str):
        # `<pad>`, `[MASK]`
        return (value[0], value[-1]) not in (("<", ">"), ("[", "]"))
    # A number of tokens, and what is called so (an arm `by_token`), whose own content is looked at
    return not isinstance(value, int | float | Mapping) or not name.lower().endswith("token")


def _is_path(value: str) -> bool:
    try:
        return os.path.exists(value)
    except ValueError:
        return False


def _is_structured(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")


def _add(value: Any) -> None:
    if isinstance(value, str):
        # A path to a file of credentials tells nothing
        if len(value) >= _LEAST_LENGTH and value != HIDDEN and not _is_path(value):
            # As it may be quoted: by Python, in JSON, in an address, or line by line
            forms = {value, repr(value)[1:-1], json.dumps(value)[1:-1], quote(value, safe=""), quote_plus(value)}
            _known.update(forms, (line for line in value.split("\n") if len(line) >= _LEAST_LENGTH))
    elif isinstance(value, Mapping):
        for item in value.values():
            _add(item)
    elif isinstance(value, Sequence):
        for item in value:
            _add(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _add(str(value))
