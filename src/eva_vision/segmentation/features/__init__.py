"""Feature maps: tiles of a dataset through a backbone, stored once, and batches of them."""
