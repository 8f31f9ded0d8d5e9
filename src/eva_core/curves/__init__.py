"""Label efficiency: what models score when their heads learn from a part of train."""
