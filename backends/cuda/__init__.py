"""The GPU backend: CUDA kernels, and what calls them through CuPy."""
