"""
Questions of the recipe: sums and differences of two numbers below a hundred, of reasoning-gym (pip install it).

    python recipes/smollm2-135m/sums/questions.py data/sums

writes train.jsonl (64 questions) and test.jsonl (64 others).
"""

import sys
from pathlib import Path

import reasoning_gym

from glow_trl.data import write_jsonl


def main(folder: Path) -> None:
    sizes = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}
    drawn = reasoning_gym.create_dataset("chain_sum", seed=42, size=400, **sizes)
    rows = list({row["question"]: {"problem": row["question"], "answer": row["answer"]} for row in drawn}.values())
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "train.jsonl", rows[:64])
    write_jsonl(folder / "test.jsonl", rows[64:128])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
