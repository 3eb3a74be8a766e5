"""What was here is in `disinhib.backends.backend`."""

from .moved import moved

__getattr__ = moved(__name__, "backend")
