"""Datasets: import from a folder, zip, CSV, Kaggle or a built-in; arrays, duplicates, health."""
