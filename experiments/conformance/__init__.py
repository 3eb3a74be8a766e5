"""Reports on who agrees with the published implementation, and the commands that ask for them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
