"""Training runs, the demo and the command line.

What is offered stands in `__init__.pyi`, and is loaded when it is asked for: the command must be
able to begin, and to be interrupted, before any of it is.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
# It needs scikit-learn, an extra, and whoever imports all there is (`import *`) may not have it.
__all__ = [name for name in __all__ if name != "DisinhibitoryClassifier"]
