"""`python -m glow_trl`, the same as `glow-trl`."""

import sys

from .cli import main


sys.exit(main())
