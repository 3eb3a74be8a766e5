"""Batches: studies of many runs, on the cores of one machine or in jobs that share a directory.

Read `study` (what a study is), `work` (what a worker does), `here` (workers on this machine),
`search` (studies by Optuna), then `results` (tables, pictures, the best).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
