"""Pictures: decoding, grids, warps, distances."""
