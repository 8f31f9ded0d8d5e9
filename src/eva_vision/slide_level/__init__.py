"""Tasks on whole slides and patients."""
