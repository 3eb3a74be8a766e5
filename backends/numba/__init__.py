"""The CPU backend: kernels compiled by Numba, threads that share a batch."""
