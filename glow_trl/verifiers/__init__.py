"""Judges of final answers: one set for labels, rewards and evaluation. docs/verifiers.md says what counts as right.

Importing this starts nothing and loads neither torch nor any computer algebra.
"""

from .answer_span import answer_span
from .gold import GoldFailure, GoldReport, check_gold
from .kinds.kind import Options
from .kinds.registry import KINDS, load_kind, register_kind
from .pool import DEFAULT_TIMEOUT, VerifierPool, default_pool, verify, verify_batch
from .verdict import REASONS, Verdict


__all__ = [
    "DEFAULT_TIMEOUT",
    "KINDS",
    "REASONS",
    "GoldFailure",
    "GoldReport",
    "Options",
    "Verdict",
    "VerifierPool",
    "answer_span",
    "check_gold",
    "default_pool",
    "load_kind",
    "register_kind",
    "verify",
    "verify_batch",
]
