"""Weights and scores between this machine and the Hugging Face hub: `eva download` and `eva push`."""
