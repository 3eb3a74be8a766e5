"""The model itself, in NumPy alone: read this folder from top to bottom to port it."""
