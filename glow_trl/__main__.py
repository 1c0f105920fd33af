"""`python -m glow_trl`, the same as `glow-trl`."""

from .cli import main
from .stages.processes import leave


leave(main())
