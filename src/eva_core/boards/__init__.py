"""Boards: many models on many tasks, run where missing, ranked, and shown on one page."""
