"""A mock: a judge with scripted answers, which writes down what it is asked. No model is behind it."""

import json
import os
import time
from pathlib import Path

from glow_trl.analysis.patterns.judges import Answer, Judge


class ScriptedJudge(Judge):
    """
    Answers by what stands in the trajectory: `slip` in it means the pattern; `bad N` makes the first N attempts of
    each judgement invalid; `split` is named by the first judgement only; `never` is never valid.

    `JUDGE_LOG` names the file of what was asked, `JUDGE_PAUSE` the seconds that an answer takes.
    """

    def answers(self, trajectories, count, attempt, done):
        for index, row in enumerate(trajectories):
            for number in range(count):
                if (index, number) in done:
                    continue
                time.sleep(float(os.environ.get("JUDGE_PAUSE", 0)))
                with Path(os.environ["JUDGE_LOG"]).open("a") as log:
                    log.write(json.dumps([row["completion"], number, attempt]) + "\n")
                yield index, number, Answer(self._text(row["completion"], number, attempt))

    def _text(self, text, number, attempt):
        if "never" in text:
            return '{"patterns": [{"id": "something_else", "quote": "never"}]}'
        if "bad" in text and attempt < int(text.partition("bad ")[2][0]):
            return "I would say it is a slip."
        found = [{"id": "slip", "quote": "slip"}] if "slip" in text else []
        if "split" in text and number == 0:
            found.append({"id": "stale", "quote": "quite another text"})
        return json.dumps({"patterns": found})
