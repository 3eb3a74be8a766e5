"""What was here is in `disinhib.backends.numpy.backend`."""

from .moved import moved

__getattr__ = moved(__name__, "numpy.backend")
