"""Whether a finished result says what its own predictions, heads, data and weights say."""
