"""What training did to each sample, and what kinds of mistakes stand in the trajectories.

Importing this package loads neither torch nor TRL.
"""

from ..data.loss_history import LossHistory
from .data_map import DataMap, data_map
from .groups import epoch_table, group_tables
from .weights import RunWeighting


__all__ = ["DataMap", "LossHistory", "RunWeighting", "data_map", "epoch_table", "group_tables"]
