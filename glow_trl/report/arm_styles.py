"""How the arms are drawn: a color, a dash pattern and a marker for each place in a run. Nothing else says so."""

from dataclasses import dataclass


# On a light and on a dark page: the colors of Okabe and Ito. Those without a contrast of 3 to 1 with a light page are
# darkened until they have it, and so far that people of any color vision can tell all of them apart
PALETTE = (
    ("#0072b2", "#0072b2"),
    ("#d55e00", "#d55e00"),
    ("#009e73", "#009e73"),
    ("#cb65a0", "#cc79a7"),
    ("#775103", "#e69f00"),
    ("#044f71", "#56b4e9"),
    ("#3f3b04", "#f0e442"),
    ("#000000", "#ffffff"),
)
# In widths of the line, and as matplotlib names them
_DASHES = ((), (5, 2), (1, 1.4), (5, 1.5, 1, 1.5), (9, 3), (2.5, 1.2), (5, 1.2, 1, 1.2, 1, 1.2), (2, 4))
_MARKERS = "os^XDvP*"
_STROKE = 2


@dataclass(frozen=True)
class ArmStyle:
    """
    How one arm is drawn. Its dash pattern and its marker tell it apart where colors do not.

    Args:
        color (`str`): the color's name, see [`color_properties`].
        dash (`tuple[float, ...]`): lengths of dashes and gaps, in widths of the line; empty for a solid line.
        marker (`str`): a marker of matplotlib.
    """

    color: str
    dash: tuple[float, ...]
    marker: str

    @classmethod
    def at(cls, place: int) -> "ArmStyle":
        """The style of the arm at a place, counted from 0. A color that comes again has another dash and marker."""
        turn, index = divmod(place, len(PALETTE))
        dash, marker = _DASHES[(index + turn) % len(_DASHES)], _MARKERS[(index + 3 * turn) % len(_MARKERS)]
        return cls(f"arm-{index + 1}", dash, marker)

    @property
    def linestyle(self) -> tuple[int, tuple[float, ...] | None]:
        """The dash pattern for matplotlib."""
        return 0, self.dash or None

    @property
    def swatch(self) -> str:
        """A piece of the arm's line with its marker, as SVG."""
        from matplotlib.markers import MarkerStyle

        marker = MarkerStyle(self.marker)
        outline = marker.get_path().transformed(marker.get_transform()).to_polygons()[0]
        points = " ".join(f"{16 + 9 * x:.1f},{6 - 9 * y:.1f}" for x, y in outline)
        dash = f' stroke-dasharray="{" ".join(f"{_STROKE * length:g}" for length in self.dash)}"' if self.dash else ""
        return (
            f'<svg class="swatch" viewBox="0 0 32 12" aria-hidden="true" style="color: var(--{self.color})">'
            f'<path d="M0 6H32" stroke="currentColor" stroke-width="{_STROKE}"{dash}/>'
            f'<polygon points="{points}" fill="currentColor"/></svg>'
        )


def color_properties() -> str:
    """The arms' colors as CSS: `--arm-1`, `--arm-2`, ... for light pages and paper, and for dark pages."""
    light, dark = (
        " ".join(f"--arm-{number}: {colors[scheme]};" for number, colors in enumerate(PALETTE, start=1))
        for scheme in (0, 1)
    )
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
