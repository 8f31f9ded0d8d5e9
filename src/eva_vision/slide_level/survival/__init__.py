"""Survival: a risk for each patient, and when what happened."""
