"""How bench/gpu_check.py starts a check in a process of its own, in a folder that it may write to."""

import argparse
import importlib
import os
import sys
from pathlib import Path

from .rows import CheckRun


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("function", help="module:function")
parser.add_argument("rows_file", type=Path)
parser.add_argument("--gpu", action="store_true")
parser.add_argument("--model")
options = parser.parse_args()
module, _, name = options.function.partition(":")
getattr(importlib.import_module(module), name)(CheckRun(options.gpu, Path.cwd(), options.rows_file, options.model))
sys.stdout.flush()
sys.stderr.flush()
# What engines and torch's threads do while a process is taken down is not what is checked
os._exit(0)
