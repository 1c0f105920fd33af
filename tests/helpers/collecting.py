"""A fixture of the folders that train many small models."""

import gc

import pytest


@pytest.fixture(scope="package", autouse=True)
def fast_garbage_collection():
    """
    Leave out of every garbage collection what the imports made: accelerate asks for one at the start of each training,
    which then costs more than the training.
    """
    from glow_trl import GLOWTrainer  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
