import sys

from .stage import cli


sys.exit(cli())
