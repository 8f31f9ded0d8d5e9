"""Numbers in, numbers out: intervals, paired comparisons, ranks."""
