"""Everything that decides or computes; never imports streamlit."""

__version__ = "0.1.0"
