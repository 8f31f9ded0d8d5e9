"""Synthetic tissue, drawn by numbers alone: patches, nuclei with their masks, and slides."""
