"""One classifier: config, recipe, loop, losses, metrics, features."""
