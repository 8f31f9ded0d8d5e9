"""Scores of predicted masks, and pictures of them."""
