"""Monitoring of a training: measures that tell learning from collapse, online kNN, pictures, throughput."""
