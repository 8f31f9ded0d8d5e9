"""A page for each result: `report.html` beside its results.json."""
