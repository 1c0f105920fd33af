"""Studies: the arms of recipes over seeds and models, what was claimed of them beforehand, and what became of that."""
