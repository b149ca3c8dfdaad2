"""The mathematics, from arrays to arrays: NumPy and SciPy only."""
