"""
Draws quickstart.svg, the picture of the README: a chart of the report on a run of recipes/quickstart.

    glow-trl run recipes/quickstart
    python docs/images/make_quickstart.py
"""

import sys
from pathlib import Path

from standalone import standalone

from glow_trl.report.charts.results import accuracy_charts
from glow_trl.report.run_data import read_run_folder


run = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/quickstart")
(chart,) = accuracy_charts(read_run_folder(run))
Path(__file__).with_name("quickstart.svg").write_text(standalone([chart]), encoding="utf-8")
