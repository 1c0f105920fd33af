"""The errors that users are meant to read."""


class UserError(ValueError):
    """Bad input or configuration: what was wrong, where, and what to do about it, in one line.

    The commands print the message without a traceback and exit with code 2. Everything that is not the user's to
    mend stays an ordinary exception.
    """


class MissingDataError(UserError):
    """A file of a recipe's data is not there. What the recipe says about where they come from is added."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency is needed and not installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str, needed_for: str):
        super().__init__(f"{needed_for} needs `{package}`, which is not installed: pip install 'glow-trl[{extra}]'")


class TrainingCollapsed(RuntimeError):
    """
    Training was stopped because it collapsed; the message says what was seen, and, by `advice`, what is kept and what
    to do. All processes raise it together. Exit code 1.

    Attributes:
        reason (`str`): what was seen.
    """

    def __init__(self, reason: str, advice: str):
        super().__init__(f"the training collapsed: {reason}. {advice}")
        self.reason = reason


class ServiceError(RuntimeError):
    """A server that a stage depends on failed for good; the message says how. What is done is kept. Exit code 1."""
