"""Folder, zip or a built-in → a Dataset; with a skew and poses → a TrainingSet."""
