"""What was here is in `disinhib.backends.cuda.backend`."""

from .moved import moved

__getattr__ = moved(__name__, "cuda.backend")
