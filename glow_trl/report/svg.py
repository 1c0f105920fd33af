"""Matplotlib figures as inline SVG that takes its colors and fonts from the page around it."""

import hashlib
import html
import io
import re
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from .arm_styles import PALETTE, ArmStyle


# Each name is a CSS variable of the page. Matplotlib draws with the stand-in, which is replaced in its output.
COLORS = MappingProxyType(
    {
        "text": "#010101",
        "muted": "#020202",
        "grid": "#030303",
        "surface": "#040404",
        "accent": "#050505",
        **{f"arm-{number}": f"#1000{number:02d}" for number in range(1, len(PALETTE) + 1)},
        "outcome-positive": "#200001",
        "outcome-negative": "#200002",
    }
)

_STYLE = {
    "svg.fonttype": "none",
    # Names are text, whatever signs they hold
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "figure.titlesize": 10,
    "figure.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.labelcolor": COLORS["muted"],
    "axes.edgecolor": COLORS["grid"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.6,
    "xtick.color": COLORS["grid"],
    "ytick.color": COLORS["grid"],
    "xtick.labelcolor": COLORS["muted"],
    "ytick.labelcolor": COLORS["muted"],
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": COLORS["text"],
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


class Chart:
    """A figure of one set of axes, drawn inside a `with` block and then turned into SVG.

    Args:
        title (`str`): heading of the chart.
        description (`str`): what it shows, for those who cannot see it.
        size (`tuple[float, float]`, *optional*, defaults to `(3.6, 2.45)`): width and height in inches.

    Example:
    ```python
    >>> with Chart("Reward", "Mean reward per step") as chart:
    ...     chart.axes.plot([1, 2], [0.5, 0.7])
    >>> chart.svg
    '<svg ...'
    ```
    """

    def __init__(self, title: str, description: str, size: tuple[float, float] = (3.6, 2.45)):
        self.title = title
        self.description = description
        self.svg = ""
        self._context = matplotlib.rc_context(_STYLE)
        self._size = size

    def __enter__(self) -> "Chart":
        self._context.__enter__()
        self.figure = Figure(figsize=self._size, layout="constrained")
        self.axes = self.figure.add_subplot()
        # At the left edge, wherever the axes begin
        self.figure.suptitle(_shortened(self.title, int(8.5 * self._size[0])), x=0.02, horizontalalignment="left")
        return self

    def name_rows(self, names: Iterable[str]) -> None:
        """Make the vertical axis one of names, the first at the top."""
        names = [_shortened(name, int(6.5 * self._size[0])) for name in names]
        self.axes.set_yticks(range(len(names)), names)
        self.axes.set_ylim(len(names) - 0.5, -0.5)
        self.axes.grid(visible=False, axis="y")
        self.axes.tick_params(axis="y", length=0, labelcolor=COLORS["text"])
        self.axes.spines["left"].set_visible(False)

    def add_legend(self, **options: Any) -> None:
        """Add a legend if there is anything to tell apart."""
        if self.axes.get_legend_handles_labels()[0]:
            self.axes.legend(**options)

    def mark(self, x: float, y: float, style: ArmStyle, filled: bool, size: float = 6) -> None:
        """Draw an arm's marker."""
        color = COLORS[style.color]
        face = color if filled else COLORS["surface"]
        look = {"marker": style.marker, "markersize": size, "markerfacecolor": face, "markeredgewidth": 1.5}
        self.axes.plot(x, y, color=color, **look)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if error is None:
                self.svg = self._render()
        finally:
            self._context.__exit__(kind, error, trace)

    def _render(self) -> str:
        buffer = io.StringIO()
        salt = hashlib.sha256(f"{self.title}\n{self.description}".encode()).hexdigest()[:10]
        with matplotlib.rc_context({"svg.hashsalt": salt}):
            FigureCanvasSVG(self.figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None})
        return _adapt(buffer.getvalue(), salt, f"{self.title}. {self.description}")


def _adapt(svg: str, prefix: str, label: str) -> str:
    """Cut the document's head off, make ids unique in the page, and hand colors, fonts and size over to it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\bid=\"([^\"]+)\"", rf'id="{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    svg = re.sub(r"(xlink:href|href)=\"#([^\"]+)\"", rf'\1="#{prefix}-\2"', svg)
    for name, stand_in in COLORS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    svg = re.sub(r"font-family: [^;\"]+", "font-family: inherit", svg)
    svg = re.sub(r"<svg\b([^>]*?) (?:width|height)=\"[^\"]*\"", r"<svg\1", svg)
    svg = re.sub(r"<svg\b([^>]*?) (?:width|height)=\"[^\"]*\"", r"<svg\1", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1).strip()


def _shortened(text: str, most: int) -> str:
    """A text without its middle where it is longer than a chart has place for."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"
