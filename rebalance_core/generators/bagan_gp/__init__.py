"""BAGAN-GP."""
