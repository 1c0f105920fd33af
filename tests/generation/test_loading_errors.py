"""What libraries raise about a user's files becomes one line; what the user's own code raises stays as it is."""

import errno
import os

import pytest

from glow_trl.errors import UserError
from glow_trl.generation.loading import load_model, loading


def test_what_a_library_raises_is_a_line(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="the model cannot be loaded: .*config.json"):
        load_model(str(tmp_path))


def test_what_other_code_raises_stays_as_it_is(tmp_path):
    """A reward of the user's own, say, in the first step of a training."""

    def reward():
        raise ValueError("mine")

    with pytest.raises(ValueError, match="^mine$") as caught, loading("the training"):
        reward()
    assert not isinstance(caught.value, UserError)


def test_errors_of_the_machine_stay_as_they_are():
    """The frame of the commands has words of its own for them."""
    for error in (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), MemoryError()):
        with pytest.raises(type(error)) as caught, loading("the model"):
            raise error
        assert caught.value is error
