"""
Writes the table of runs with different seeds into the recipe's README, from what the runs left.

    for seed in $(seq 0 19); do glow-trl run recipes/quickstart --seed $seed --output_dir outputs/seeds/$seed; done
    python recipes/quickstart/seeds.py outputs/seeds
"""

import json
import re
import sys
from pathlib import Path


README = Path(__file__).with_name("README.md")
START, END = "<!-- seeds -->\n", "<!-- end of seeds -->\n"


def accuracies(folder: Path) -> dict[int, list[dict[str, float]]]:
    """By seed, the accuracy on each test set after each stage that was evaluated."""
    found = {}
    for path in folder.glob("*/run.json"):
        run, summary = (json.loads(path.with_name(name).read_text()) for name in ("run.json", "summary.json"))
        stages = [summary["arms"]["glow"].get(stage, {}).get("benchmarks", {}) for stage in ("sft", "grpo")]
        found[run["seed"]] = [{name: 100 * each["pass@1"] for name, each in stage.items()} for stage in stages]
    return dict(sorted(found.items()))


def meets_the_bar(before: dict[str, float], after: dict[str, float]) -> bool:
    """What the recipe is to do with any seed."""
    others = before.keys() - {"in_domain", "longer_chains"}
    return (
        before.keys() == after.keys()
        and after["in_domain"] >= max(90, before["in_domain"] + 10)
        and all(after[name] > before[name] for name in others)
    )


def table(runs: dict[int, list[dict[str, float]]]) -> str:
    """A row a run, and how many meet the bar."""
    names = list(next(iter(runs.values()))[0])
    lines = [f"| seed | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for seed, (before, after) in runs.items():
        cells = [f"{before[name]:.1f} → {after.get(name, float('nan')):.1f}" for name in names]
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    met = sum(meets_the_bar(*stages) for stages in runs.values())
    lines += [
        "",
        f"In {met} of {len(runs)} runs accuracy in domain after GRPO is at least 90 % and 10 points above that",
    ]
    lines += ["after SFT, and on every other set but `longer_chains` it is above that after SFT."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    body = START + table(accuracies(Path(sys.argv[1]))) + END
    README.write_text(re.sub(f"{START}.*?{END}", lambda _: body, text, flags=re.S), encoding="utf-8")
