"""For all the tests of this folder."""

from helpers.collecting import fast_garbage_collection  # noqa: F401
