"""Shared by all training loops: device, keyed random numbers, batches, learning rates."""
