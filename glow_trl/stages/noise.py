"""Lines of libraries that tell a user nothing, and are not printed. Each is named: everything else stays."""

import logging
import re
import warnings


# By logger, patterns of whole messages
_LINES = {
    # On each machine without a GPU, to stdout
    "DeepSpeed": r"Setting accelerator to CPU\..*",
    # Where vLLM is installed, and is not used
    "vllm.triton_utils.importing": r"Triton is installed, but `triton\.backends` could not be imported.*",
    # Checkpoints that follow each other within a second, which are then sorted by their numbers; and tokenizers
    # without a token for the beginning, such as Qwen's
    "transformers.trainer_utils": r"mtime may not be reliable.*|The tokenizer has new .* \{'bos_token_id': None\}\.",
}
# What libraries say to each other
_WARNINGS = [
    (r"`torch\.distributed\.all_gather_into_tensor` is deprecated", FutureWarning),
    # TRL and PEFT use the name whether a user does or not; newer releases of transformers have another
    (r"`(is_)?gradient_checkpointing(_enable|_disable)?` is deprecated", FutureWarning),
]


class _Unsaid(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not re.fullmatch(_LINES[self.name], record.getMessage(), re.DOTALL)


def drop_noise() -> None:
    """Let libraries not print these lines. Before they are imported, as some print one then."""
    for name in _LINES:
        logger = logging.getLogger(name)
        if not any(isinstance(other, _Unsaid) for other in logger.filters):
            logger.addFilter(_Unsaid(name))
    for message, category in _WARNINGS:
        warnings.filterwarnings("ignore", message, category)
