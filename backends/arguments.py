"""What was here is in `disinhib.backends.front`."""

from .moved import moved

__getattr__ = moved(__name__, "front")
