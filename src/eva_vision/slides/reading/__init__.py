"""Opening and reading a slide, whatever its format and wherever it lies; imports nothing of the folder above."""
