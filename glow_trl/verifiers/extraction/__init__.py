"""Finding the final answer of a completion."""
