"""Completions saved as they come, so that a run that was killed loses none of those that were written."""

import dataclasses
from pathlib import Path

from ..data.append_log import AppendLog
from ..errors import UserError
from ..generation import Generation


class SampleStore(AppendLog):
    """An [`~glow_trl.data.append_log.AppendLog`] with one row per completion.

    Args:
        path (`Path`): the file; it is made if it does not exist.

    Attributes:
        samples (`dict[tuple[int, int], Generation]`): what is saved, by the numbers of question and sample.

    Raises:
        UserError: the file cannot be opened, or a line in it is not one that was written here.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self.samples: dict[tuple[int, int], Generation] = {}
        for line, row in self.rows():
            try:
                key = row.pop("index"), row.pop("sample")
                self.samples[key] = Generation(**row)
            except (KeyError, TypeError) as error:
                raise UserError(
                    f"{path}, line {line}: not a saved completion; delete the line, and it is drawn again"
                ) from error

    def add(self, index: int, sample: int, generation: Generation) -> None:
        """Save one completion.

        Raises:
            OSError: the disk is full, or went away.
        """
        row = dataclasses.asdict(generation)
        del row["log_probs"]
        self.append({"index": index, "sample": sample, **row})
        self.samples[index, sample] = generation
