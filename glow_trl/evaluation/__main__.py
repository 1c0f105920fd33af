import sys

from ..cli import run_stage
from .stage import main


sys.exit(run_stage(main))
