"""Pretraining by online patching: methods, their training from slides or patches, and the export of a model."""
