"""Runs: their settings, beginning, epochs and end, and what they write into their directory.

Read `configuration`, then `run` (what a run is, beginning and resuming), then `epochs`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
