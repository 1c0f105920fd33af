"""The quickstart's data: a small task with exact answers, and a teacher that errs as real ones do."""

from .data import QuickstartConfig, write_data
from .task import VOCABULARY


__all__ = ["VOCABULARY", "QuickstartConfig", "write_data"]
