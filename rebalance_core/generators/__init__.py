"""TrainingSet → a trained Generator; one contract for all."""
