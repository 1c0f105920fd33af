"""Reading answers, and deciding whether two are equal."""
