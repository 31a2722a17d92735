"""Rewrite search: goal, constraints, moves and search are small parts that a recipe names."""
