"""Charts of pages as a picture of their own: with the colors of the report in it, for light and for dark pages."""

import re
from importlib import resources

from glow_trl.report.arm_styles import color_properties


_SCALE = 1.6


def standalone(charts: list[str], columns: int = 2) -> str:
    """One picture of charts, so many beside each other; the same charts are the same bytes."""
    page = resources.files("glow_trl.report").joinpath("templates", "report.css").read_text(encoding="utf-8")
    colors = "".join(re.findall(r"^(?::root|@media \(prefers-color-scheme: dark\)) \{.*?^\}", page, re.M | re.S)[:2])
    style = f"<style>{colors}{color_properties()} svg {{ font-family: system-ui, sans-serif; }}</style>"
    background = '<rect width="100%" height="100%" fill="var(--surface)"/>'
    sizes = [_size(chart) for chart in charts]
    if len(charts) == 1:
        head, body = charts[0].split(">", 1)
        return f"{_placed(head, *sizes[0])}>{style}{background}{body}\n"
    parts, width, bottom = [], 0.0, 0.0
    for first in range(0, len(charts), columns):
        left, row = 0.0, range(first, min(first + columns, len(charts)))
        for place in row:
            head, body = charts[place].split(">", 1)
            parts.append(f'{_placed(head, *sizes[place], f"""x="{left:g}" y="{bottom:g}" """, 1)}>{body}\n')
            left += sizes[place][0]
        width, bottom = max(width, left), bottom + max(sizes[place][1] for place in row)
    head = _placed(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {bottom:g}"', width, bottom)
    return f"{head}>{style}{background}{''.join(parts)}</svg>\n"


def _size(chart: str) -> tuple[float, float]:
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', chart).groups()
    return float(width), float(height)


def _placed(head: str, width: float, height: float, place: str = "", scale: float = _SCALE) -> str:
    """The beginning of an SVG with the size that it is shown in."""
    return head.replace("<svg", f'<svg {place}width="{scale * width:.0f}" height="{scale * height:.0f}"', 1)
