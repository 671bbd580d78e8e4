"""The diffusion models: DDPM and conditional DDPM."""
