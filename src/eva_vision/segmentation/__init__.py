"""Segmentation: dense features to masks."""
