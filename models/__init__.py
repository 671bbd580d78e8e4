"""The networks: how each is built, saved and loaded. Imports nothing else of the studio."""
