"""What a plugin promises: cards, datasets, backbones, heads and protocols."""
