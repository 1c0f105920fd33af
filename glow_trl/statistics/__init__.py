"""Estimates with intervals, paired tests and agreement; numbers only, no files."""
