"""Patches as a stream: out of slides where they lie, or out of a folder of images."""
