"""What every training loop shares: device, keyed random numbers, batches, rates."""
