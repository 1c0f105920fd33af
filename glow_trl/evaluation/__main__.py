"""`python -m glow_trl.evaluation`, the same as `glow-trl eval`."""

import sys

from ..stages.command import run_command


sys.exit(run_command("eval"))
