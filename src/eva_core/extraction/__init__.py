"""Dataset x backbone -> store: the one place where a foundation model runs."""
