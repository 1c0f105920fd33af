import sys

from ..cli import run_stage
from .eval import main


sys.exit(run_stage(main))
