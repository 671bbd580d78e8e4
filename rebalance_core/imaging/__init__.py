"""Images: decoding, grids, warps, distances."""
