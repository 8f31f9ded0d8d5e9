"""Decoders: heads on feature maps, their training, and the baseline that looks at colour alone."""
