"""Dataset + split + skew + poses → TrainingSet."""
