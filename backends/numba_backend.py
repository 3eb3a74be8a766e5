"""What was here is in `disinhib.backends.numba.backend`."""

from .moved import moved

__getattr__ = moved(__name__, "numba.backend")
