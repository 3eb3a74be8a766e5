"""How fast a backend learns: which cases, how they are measured, and how that is shown."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
