"""What libraries say to nobody is not printed, and everything else is."""

import logging
import warnings

import pytest

from glow_trl.stages.noise import drop_noise


@pytest.mark.parametrize(
    ("logger", "message", "is_said"),
    [
        ("DeepSpeed", "Setting accelerator to CPU. If you have GPU or other accelerator, we were unable", False),
        ("DeepSpeed", "the optimizer's state is damaged", True),
        (
            "vllm.triton_utils.importing",
            "Triton is installed, but `triton.backends` could not be imported. Dis",
            False,
        ),
        ("vllm.triton_utils.importing", "Triton is installed, but it is too old", True),
        ("transformers.trainer_utils", "mtime may not be reliable on this filesystem, falling back to numbers", False),
        ("transformers.trainer_utils", "The tokenizer has new PAD/BOS/EOS tokens: {'bos_token_id': None}.", False),
        ("transformers.trainer_utils", "The tokenizer has new PAD/BOS/EOS tokens: {'eos_token_id': 3}.", True),
    ],
)
def test_lines_are_told_apart(logger, message, is_said, caplog, monkeypatch):
    drop_noise()
    drop_noise()
    logger = logging.getLogger(logger)
    # Whatever libraries that other tests have imported made of it
    monkeypatch.setattr(logger, "disabled", False)
    caplog.set_level(logging.WARNING, logger.name)
    logger.addHandler(caplog.handler)
    try:
        logger.warning(message)
    finally:
        logger.removeHandler(caplog.handler)
    assert (message in caplog.text) is is_said


def test_warnings_are_told_apart():
    with pytest.warns(FutureWarning) as said:
        drop_noise()
        warnings.warn("`torch.distributed.all_gather_into_tensor` is deprecated. Please", FutureWarning, stacklevel=1)
        for name in ("gradient_checkpointing", "is_gradient_checkpointing", "gradient_checkpointing_enable"):
            warnings.warn(f"`{name}` is deprecated and will be removed", FutureWarning, stacklevel=1)
        warnings.warn("`torch.distributed.broadcast` is deprecated. Please", FutureWarning, stacklevel=1)
    assert len(said) == 1 and "broadcast" in str(said[0].message)
