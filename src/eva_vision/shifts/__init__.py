"""Changes of acquisition: what a finished result decides when the scanner, the stain or the focus is another."""
