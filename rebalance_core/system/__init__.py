"""Files, processes and exposure: what the rest needs of the operating system."""
