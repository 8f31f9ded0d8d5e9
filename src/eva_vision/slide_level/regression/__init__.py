"""A number for each patient or slide."""
