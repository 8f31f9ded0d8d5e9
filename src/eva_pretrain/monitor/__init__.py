"""What tells learning from collapse while a model trains: measures, online kNN, pictures, and the work done."""
