"""The rows on which judges differ, as one page that needs nothing else."""

from collections.abc import Sequence
from html import escape
from typing import Any

from ...statistics.numbers import interval, percent


_MOST_ROWS = 500
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222;
  background: #fff; overflow-wrap: anywhere }
table { border-collapse: collapse } th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }
article { border-top: 1px solid #ccc; padding: .8rem 0 }
pre { white-space: pre-wrap; margin: .3rem 0; font-size: .85rem }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } }
"""
_RATES = (("false_negative_rate", "right answers rejected"), ("false_positive_rate", "wrong answers accepted"))


def render_page(results: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """
    The page of an audit.

    Args:
        results (`dict`): the content of `results.json`.
        rows (`list[dict]`): the rows on which the judges differ; of many the first 500 are shown.
    """
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{count:,}</td></tr>" for name, count in results["cells"].items())
    shown = "".join(map(_article, rows[:_MOST_ROWS]))
    more = f"; the first {_MOST_ROWS} are here, all in disagreements.jsonl" if len(rows) > _MOST_ROWS else ""
    agreement = "".join(
        f"<tr><td>{escape(pair)}</td><td>agree on {share:.2%}</td></tr>"
        for pair, share in results["agreement"].items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>How wrong is the reward?</title><style>{_STYLE}</style></head><body>"
        f"<h1>How wrong is the reward?</h1><p>{results['rows']:,} rows of {escape(str(results['source']))}."
        f"</p>{_rates(results)}<h2>What the judges say</h2><table>{cells}{agreement}</table>"
        f"<h2>Where they differ</h2><p>{len(rows):,} rows{more}.</p>{shown}</body></html>\n"
    )


def _rates(results: dict[str, Any]) -> str:
    lines = []
    for name, title in (("by_hand", "labels of a person"), ("by_model", "a model's labels")):
        if (found := results[name]) is not None:
            lines += [
                f"<tr><td>{what}</td><td>{percent(found[rate])} %</td><td>{interval(found[rate + '_ci'])} %</td>"
                f"<td>{found['labels']} {title}</td></tr>"
                for rate, what in _RATES
            ]
    bounds = results["by_agreement"]
    lines += [
        f"<tr><td>{what}</td><td>at most {percent(bounds[rate + '_at_most'])} %</td><td></td>"
        "<td>if both judges are right where they agree</td></tr>"
        for rate, what in _RATES
        if bounds[rate + "_at_most"] is not None
    ]
    return f"<h2>Rates</h2><table><tr><th></th><th></th><th>95 %</th><th></th></tr>{''.join(lines)}</table>"


def _article(row: dict[str, Any]) -> str:
    said = [("ours", f"{_word(row['ours'])} ({row['reason']})"), ("math-verify", _word(row["math_verify"]))]
    said += [(name, _word(row[key])) for name, key in (("model", "model"), ("by hand", "hand")) if key in row]
    facts = [("answer found", row["extracted"] or "none"), ("gold answer", row["answer"]), *said]
    table = "".join(f"<tr><th>{name}</th><td>{escape(str(value))}</td></tr>" for name, value in facts)
    return (
        f"<article><pre>{escape(row['problem'])}</pre><table>{table}</table>"
        f"<details><summary>completion</summary><pre>{escape(row['completion'])}</pre></details></article>"
    )


def _word(verdict: bool | None) -> str:
    return {True: "right", False: "wrong", None: "nothing"}[verdict]
