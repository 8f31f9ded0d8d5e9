"""The parts of `bench/bad_week.py`."""
