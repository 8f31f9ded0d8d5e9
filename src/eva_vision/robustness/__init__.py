"""How much embeddings tell of the site where a slide was made, beside what is on it: robustness benchmarks."""
