"""Data of the image tasks, their split, their labels and the order of their batches.

Start at `load.load_dataset`. `digits` ships with the package; `image_files` reads IDX files,
`tensorflow_datasets_source` what tensorflow-datasets prepared. `dataset` has what all of them give,
and makes of it what a learning step takes. What is offered stands in `__init__.pyi`, and is loaded
when it is asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
