"""
What studies have found, in the repository: keeps it and writes what is made of it.

    python docs/evidence/make_evidence.py outputs/NAME   keep the study in this folder beside its recipe, and write all
    python docs/evidence/make_evidence.py                write all anew of what is kept

A study is kept in a small form, `recipes/RECIPE/study.json`: figures with five digits, of the curves those of losses,
and of the single seeds what the measures have. Of it the section "Evidence" of README.md is made and, for each study,
`docs/evidence/RECIPE.md` with its pictures. What stands in these outside of the marks is written by hand and stays: in
the page, what the study can and cannot say. The texts are in the templates beside this file.
"""

import hashlib
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import jinja2
import numpy as np


sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "images"))

from standalone import standalone

from glow_trl.recipes.deciding import deciding_settings
from glow_trl.recipes.plan import Plan
from glow_trl.recipes.recipe import Recipe
from glow_trl.report.arm_styles import ArmStyle
from glow_trl.report.other_seeds import FORMAT, STUDY_FILE, differences, flattened
from glow_trl.stages.record import jsonable
from glow_trl.statistics.numbers import duration, p_value
from glow_trl.study.file import LOSSES
from glow_trl.study.page import VERDICTS, change, curve_chart, figure, made_with, measure_charts, mixed_settings


ROOT = Path(__file__).resolve().parents[2]
README_MARKS = ("<!-- evidence: made by docs/evidence/make_evidence.py -->\n", "<!-- end of evidence -->\n")
PAGE_MARKS = ("<!-- study: made by docs/evidence/make_evidence.py -->\n", "<!-- end of study -->\n")
LIMITS = "## What it can and cannot say\n"
_DIGITS, _MOST_POINTS = 5, 20
# Paths of this machine among them
_LEFT_OUT = ("definition", "seed_variance", "question_variance", "lacking", "recipes", "log")

Study = dict[str, Any]


def keep(folder: Path, root: Path = ROOT) -> Path:
    """Keep the study in a folder beside its recipe; returns the file."""
    path = folder / "study.json"
    if not path.is_file():
        sys.exit(f"{folder}: there is no study.json; give the folder of a study that was run")
    results = json.loads(path.read_text(encoding="utf-8"))
    if not all("benchmarks" in setting for setting in results["settings"]) or "made" not in results:
        sys.exit(f"{path} is of an older version: write it anew with glow-trl study FILE --assemble true")
    recipes = {setting["recipe"] for setting in results["settings"]}
    if len(recipes) > 1:
        sys.exit(
            f"{path} is of several recipes, {', '.join(sorted(recipes))}: it is kept beside one, so study each alone"
        )
    (recipe,) = recipes
    if not (root / "recipes" / recipe).is_dir():
        sys.exit(f"{path} is of the recipe {recipe}, which is not in {root / 'recipes'}")
    facts = {"format": FORMAT, "name": folder.resolve().name, "recipe": recipe}
    for setting in results["settings"]:
        setting["curves"] = [thinned(curve) for curve in setting["curves"] if curve["name"] in LOSSES]
        for its in (row for entry in setting["benchmarks"] for row in entry["arms"].values() if row):
            del its["by_seed"]
    content = facts | reduced(results) | {"cost": cost(folder)}
    kept = root / "recipes" / recipe / STUDY_FILE
    kept.write_text(_dumped(content) + "\n", encoding="utf-8")
    return kept


def reduced(value: Any) -> Any:
    """Results in a small form."""
    if isinstance(value, dict):
        return {key: reduced(item) for key, item in value.items() if key not in _LEFT_OUT}
    if isinstance(value, list):
        return [reduced(item) for item in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def thinned(curve: dict[str, Any]) -> dict[str, Any]:
    """A curve with few points, its first and last among them."""
    arms = {}
    for arm, row in curve["arms"].items():
        places = np.unique(np.linspace(0, len(row["x"]) - 1, _MOST_POINTS).round().astype(int))
        arms[arm] = {key: [row[key][place] for place in places] for key in ("x", "mean", "low", "high")}
    return curve | {"arms": arms}


def cost(folder: Path) -> dict[str, Any]:
    """The seconds of all runs together, and those of the study: `None` where Slurm or other machines have run it."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("runs/**/run.json"))]
    seconds = [float(record.get("seconds") or 0) for record in records if record.get("stage") == "run"]
    own = folder / "run.json"
    elapsed = (json.loads(own.read_text(encoding="utf-8")).get("seconds") or 0.0) if own.is_file() else 0.0
    # A study that took less time than one of its runs has not run it
    ran = elapsed >= max(seconds, default=0.0) and not (folder / "slurm").exists()
    return {"runs": len(seconds), "seconds": round(sum(seconds)), "elapsed": round(elapsed) if ran else None}


def _dumped(value: Any, depth: int = 0) -> str:
    """JSON in which what holds no mapping is a line."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    inner = [item for item in items if isinstance(item, dict | list)]
    if not any(isinstance(item, dict) or any(isinstance(one, dict) for one in item) for item in inner):
        return json.dumps(value, ensure_ascii=False)
    space, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, list):
        return f"[{space}{f',{space}'.join(_dumped(item, depth + 1) for item in value)}{end}]"
    lines = [f"{json.dumps(key, ensure_ascii=False)}: {_dumped(item, depth + 1)}" for key, item in value.items()]
    return f"{{{space}{f',{space}'.join(lines)}{end}}}"


def read_studies(root: Path = ROOT) -> list[Study]:
    """The studies that are kept, by recipe."""
    paths = sorted(root.glob(f"recipes/*/{STUDY_FILE}"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def documents(root: Path = ROOT) -> dict[Path, str]:
    """Everything that is made of the studies, as it should stand: by file, the whole text."""
    studies = read_studies(root)
    readme = root / "README.md"
    found = {readme: _between(readme.read_text(encoding="utf-8"), README_MARKS, readme_section(studies, root), readme)}
    for study in studies:
        page = root / "docs" / "evidence" / f"{study['recipe']}.md"
        text = f"# A study of recipes/{study['recipe']}\n\n{''.join(PAGE_MARKS)}\n{LIMITS}"
        text = page.read_text(encoding="utf-8") if page.is_file() else text
        found[page] = _between(text, PAGE_MARKS, study_page(study, root), page)
        drawn = {"": picture(study, study["study"]["arms"]), "-curves": curves(study)}
        if has_summary(study):
            drawn["-summary"] = picture(study, claimed_arms(study))
        found |= {page.with_name(f"{page.stem}{end}.svg"): svg for end, svg in drawn.items() if svg is not None}
    return found


def outdated(root: Path = ROOT) -> list[str]:
    """What is not as the studies that are kept say, by file; and pages of studies that are not."""
    made = documents(root)
    found = [
        path.relative_to(root).as_posix()
        for path, text in made.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    pages = (root / "docs" / "evidence").glob("*.md")
    return found + [
        page.relative_to(root).as_posix()
        for page in sorted(pages)
        if page not in made and PAGE_MARKS[0] in page.read_text(encoding="utf-8")
    ]


def without_limits(root: Path = ROOT) -> list[str]:
    """The pages in which nothing was written of what the study cannot say."""
    pages = [path for path in documents(root) if path.suffix == ".md" and path.parent.name == "evidence"]
    return [
        page.relative_to(root).as_posix()
        for page in pages
        if not page.is_file() or not page.read_text(encoding="utf-8").partition(LIMITS)[2].strip()
    ]


def readme_section(studies: list[Study], root: Path = ROOT) -> str:
    """The section of the README; empty without a study."""
    changed = {study["recipe"]: changed_since(study, root) for study in studies}
    text = _rendered("readme.md.jinja", studies=studies, has_summary=has_summary, changed=changed)
    return "".join(f"{line}\n" for one in text.splitlines() for line in _filled(one))


def study_page(study: Study, root: Path = ROOT) -> str:
    """What the page of a study says of its figures."""
    level = f"{100 * (1 - study['study']['alpha']):g} %"
    facts = {"made": made_with(study), "mixed": mixed_settings(study), "file": _file(study, root)}
    facts["changed"] = changed_since(study, root)
    return _rendered("page.md.jinja", study=study, level=level, **facts)


def changed_since(study: Study, root: Path = ROOT) -> list[str]:
    """In what the recipe, as it stands, is no longer the one that was studied, in words."""
    recipe, said = Recipe(root / "recipes" / study["recipe"]), study["study"]
    launched = None if said["accelerate_config"] is None else root / said["accelerate_config"]
    arms = [arm for arm in said["arms"] if arm in recipe.arms]
    changes = [f"it has no arm {arm}" for arm in said["arms"] if arm not in arms]
    for setting, model in zip(study["settings"], said["models"] or [None], strict=True):
        now = deciding_settings(Plan(recipe, Path("outputs"), arms, model, said["overrides"], launched))
        for arm in arms:
            found = differences(flattened(jsonable(now[arm])), setting, arm)
            changes += [f"{name} was {_told(then)}, is {_told(here)}" for name, (then, here) in found.items()]
    return list(dict.fromkeys(changes))


def _told(value: Any) -> str:
    return "not set" if value is None else str(value)


def picture(study: Study, shown: list[str]) -> str:
    """The primary measures: means of the arms that are shown with intervals, and their seeds."""
    arms = {arm: ArmStyle.at(place) for place, arm in enumerate(study["study"]["arms"]) if arm in shown}
    return standalone([chart for setting in study["settings"] for chart in measure_charts(setting, arms)])


def has_summary(study: Study) -> bool:
    """Whether the README shows fewer arms than the page: those that are claimed something of, of many."""
    return len(claimed_arms(study)) < len(study["study"]["arms"])


def claimed_arms(study: Study) -> list[str]:
    """The arms that the study claims something of, and the control; all where it claims nothing."""
    claimed = {item["claim"][key] for item in study["claims"] for key in ("arm", "versus")}
    return [arm for arm in study["study"]["arms"] if not claimed or arm in claimed | {study["study"]["control"]}]


def curves(study: Study) -> str | None:
    """The losses of positives and negatives by epoch; `None` where no run has recorded them."""
    arms = {arm: ArmStyle.at(place) for place, arm in enumerate(study["study"]["arms"])}
    charts = [curve_chart(curve, arms, True) for setting in study["settings"] for curve in setting["curves"]]
    return standalone(charts) if charts else None


def _rendered(template: str, **content: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"figure": figure, "change": change, "duration": duration, "p_value": p_value}
    environment.filters |= {"plain": _plain, "code": "`{}`".format}
    text = environment.get_template(template).render(verdicts=VERDICTS, **content)
    return re.sub(r"\n{3,}", "\n\n", text).lstrip("\n")


def _file(study: Study, root: Path) -> str | None:
    """The file of the repository that is the one which was declared."""
    for path in sorted([*root.glob("examples/*.yaml"), *root.glob("recipes/*/*.yaml")]):
        if hashlib.sha256(path.read_bytes()).hexdigest() == study["declared"]["sha256"]:
            return path.relative_to(root).as_posix()
    return None


def _plain(text: str) -> str:
    """A text in which nothing is Markdown."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def _filled(line: str) -> list[str]:
    """A line of Markdown as lines that are not too long; pictures stay as they are."""
    if not line or line.startswith("!"):
        return [line]
    indent = "  " if line.startswith("- ") else ""
    return textwrap.wrap(line, 125, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _between(text: str, marks: tuple[str, str], body: str, path: Path) -> str:
    start, found, rest = text.partition(marks[0])
    _, ends, after = rest.partition(marks[1])
    if not found or not ends:
        sys.exit(
            f"{path}: the lines {marks[0].strip()} and {marks[1].strip()} are missing, between which it is written"
        )
    return f"{start}{marks[0]}{body}{marks[1]}{after}"


def main(argv: list[str], root: Path = ROOT) -> None:
    if len(argv) > 1 or any(word.startswith("-") for word in argv):
        sys.exit(str(__doc__).strip())
    if argv:
        print(keep(Path(argv[0]), root))
    for path, text in documents(root).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path)
    for page in without_limits(root):
        print(f"{page}: say under {LIMITS.strip()!r} what the study can and cannot say", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
