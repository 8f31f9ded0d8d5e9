"""A run from settings to an export: its config, launch, initial weights, checkpoints, and trainer."""
