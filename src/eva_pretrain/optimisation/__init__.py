"""How it is trained: the recipe, its schedules, and the optimiser."""
