"""Generator → a SyntheticSet: images with provenance."""
