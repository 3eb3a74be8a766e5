"""Compiled kernels of the CPU backend; `disinhib.backends.numba.backend` calls them.

Every kernel works on the samples b_0 … b_1 of a batch and releases the interpreter lock,
so that threads take a part of the batch each. Arrays of all layers lie in one flat array
(see `layout`): one compilation serves every depth and width.
"""
