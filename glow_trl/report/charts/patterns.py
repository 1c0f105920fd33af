"""Charts of the patterns that an annotation found."""

from typing import Any

from ..svg import COLORS, Chart


_MARKERS = {"positive": "o", "negative": "s"}


def pattern_chart(section: dict[str, Any]) -> list[str]:
    """Share of the trajectories that show each pattern, by label, with intervals."""
    rows = [row for rows in section["groups"].values() for row in rows]
    labels = section["labels"]
    if not rows or not labels:
        return []
    with Chart(
        "Trajectories with each pattern",
        "Share of the trajectories that show each pattern, by label, in percent",
        (5.2, 0.9 + 0.28 * len(rows)),
    ) as chart:
        axes = chart.axes
        for place, row in enumerate(rows):
            for offset, label in enumerate(labels):
                share = row["shares"][label]
                if not share:
                    continue
                height = place + 0.4 * ((offset + 0.5) / len(labels) - 0.5)
                color = COLORS.get(f"outcome-{label}", COLORS["accent"])
                if share.get("share_ci"):
                    axes.plot([100 * end for end in share["share_ci"]], [height, height], color=color, linewidth=1.3)
                axes.plot(
                    100 * share["share"],
                    height,
                    marker=_MARKERS.get(label, "o"),
                    markersize=5,
                    color=color,
                    linestyle="none",
                    label=label if place == 0 else None,
                )
        chart.name_rows(row["pattern"]["name"] for row in rows)
        axes.set_xlim(left=0)
        axes.set_xlabel("% of trajectories (95 % interval)")
        chart.add_legend(loc="lower right")
    return [chart.svg]
