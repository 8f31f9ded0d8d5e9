"""Published weights: where a card says that they are, and whether they can be had. Free of torch."""
