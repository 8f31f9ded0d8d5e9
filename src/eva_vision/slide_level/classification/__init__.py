"""A class for each patient or slide."""
