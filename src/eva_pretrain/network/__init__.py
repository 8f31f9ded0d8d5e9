"""Networks: a ViT and its projection heads, whole or divided among devices."""
