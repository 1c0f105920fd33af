"""The kinds of verifiers, and how new ones are added."""
