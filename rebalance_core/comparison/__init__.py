"""TrainingSet + SyntheticSets → arms trained over seeds, the answer, the report."""
