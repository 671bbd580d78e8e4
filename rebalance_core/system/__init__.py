"""Files, processes and exposure: the interface to the operating system."""
