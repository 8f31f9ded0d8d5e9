"""How bytes get to disk and back: whole or not at all, checked, under safe names."""
