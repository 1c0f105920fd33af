"""Recipes: folders of YAML files, and the run of all their stages."""
