"""The paper's science: experiments of ours on its model, its table, and the figures of both."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
