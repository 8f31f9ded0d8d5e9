"""Vision: patch datasets, models, heads and preprocessing."""
