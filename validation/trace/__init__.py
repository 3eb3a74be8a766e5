"""Traces: a few learning steps with every stage of them, recorded, written and read.

What is offered stands in `__init__.pyi`, and is loaded when it is asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
