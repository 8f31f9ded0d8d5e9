"""Optimisation: the recipe, its schedules, and the optimiser."""
