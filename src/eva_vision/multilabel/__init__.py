"""Several labels for each image, each a share of 0 to 1 or unknown."""
