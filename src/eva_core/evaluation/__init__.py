"""What holds for every kind of task: splits, hold-outs, contamination, sites."""
