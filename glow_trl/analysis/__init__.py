"""What training did to each sample, and what kinds of mistakes stand in the trajectories.

Importing this package loads neither torch nor TRL.
"""

from .data_map import DataMap, data_map
from .dynamics import epoch_table, group_tables
from .ledger import LedgerData, Weighting, read_ledger


__all__ = ["DataMap", "LedgerData", "Weighting", "data_map", "epoch_table", "group_tables", "read_ledger"]
