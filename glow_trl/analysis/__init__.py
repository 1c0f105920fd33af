"""What training did to each sample, and what kinds of mistakes stand in the trajectories.

Importing this package loads neither torch nor TRL.
"""

from ..data.loss_history import LedgerData, Weighting, read_ledger
from .data_map import DataMap, data_map
from .groups import epoch_table, group_tables


__all__ = ["DataMap", "LedgerData", "Weighting", "data_map", "epoch_table", "group_tables", "read_ledger"]
