"""What kinds of mistakes and habits stand in trajectories: a taxonomy, judges that apply it, and statistics of both.

Importing this package loads no engine.
"""

from .answers import InvalidAnswer, parse_answer
from .judges import JUDGES, Judge, create_judge
from .taxonomy import Pattern, Taxonomy, load_taxonomy


__all__ = [
    "JUDGES",
    "InvalidAnswer",
    "Judge",
    "Pattern",
    "Taxonomy",
    "create_judge",
    "load_taxonomy",
    "parse_answer",
]
