"""
Draws quickstart.svg, the picture of the README: a chart of the report on a run of recipes/quickstart, with the colors
of the report in it, since it stands alone there.

    glow-trl run recipes/quickstart
    python docs/images/make_quickstart.py
"""

import re
import sys
from importlib import resources
from pathlib import Path

from glow_trl.report.arm_styles import color_properties
from glow_trl.report.charts.results import accuracy_charts
from glow_trl.report.run_data import read_run_folder


run = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/quickstart")
(chart,) = accuracy_charts(read_run_folder(run))
width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', chart).groups()
page = resources.files("glow_trl.report").joinpath("templates", "report.css").read_text(encoding="utf-8")
colors = "".join(re.findall(r"^(?::root|@media \(prefers-color-scheme: dark\)) \{.*?^\}", page, re.M | re.S)[:2])
style = f"<style>{colors}{color_properties()} svg {{ font-family: system-ui, sans-serif; }}</style>"
head, body = chart.split(">", 1)
head = head.replace("<svg", f'<svg width="{1.6 * float(width):.0f}" height="{1.6 * float(height):.0f}"', 1)
path = Path(__file__).with_name("quickstart.svg")
path.write_text(f'{head}>{style}<rect width="100%" height="100%" fill="var(--surface)"/>{body}\n', encoding="utf-8")
