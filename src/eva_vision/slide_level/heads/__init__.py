"""Heads that learn from bags."""
