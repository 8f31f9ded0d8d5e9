"""Pretraining by online patching: an add-on to come; only its command is declared."""
