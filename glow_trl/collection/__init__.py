"""Trajectories: from questions and a teacher to labelled training sets."""
