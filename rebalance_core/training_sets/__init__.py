"""Training sets: a dataset with a split, a skew and poses."""
