"""Streams of patches, read from slides in place or from a folder of images."""
