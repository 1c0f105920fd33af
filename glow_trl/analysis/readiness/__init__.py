"""How good a start for RL a checkpoint is: measures, their order, and where their figures come from."""
