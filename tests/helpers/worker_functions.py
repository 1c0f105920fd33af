"""What tests let worker processes do."""

import time


_kept: list[bytearray] = []


def compute(seconds: float) -> float:
    """Use the processor for so long."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return seconds


def fill(megabytes: int, keep: bool) -> int:
    """Use so much memory, and maybe keep it."""
    block = bytearray(megabytes * 2**20)
    if keep:
        _kept.append(block)
    return len(block)
