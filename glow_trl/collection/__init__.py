"""Trajectories: from a teacher's completions to a labelled training set."""
