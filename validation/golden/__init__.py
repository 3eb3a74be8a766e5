"""Training traces of the published implementation, shipped with the package."""
