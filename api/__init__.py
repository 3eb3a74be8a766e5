"""Deep networks that learn by a Hebbian rule under top-down dis-inhibition.

What is offered stands in `__init__.pyi`, and is loaded when it is asked for. The folders behind
it have more: `refimpl` the model, `backends` its fast versions, `datasets`, `validation` the judge
of all of them, `experiments` runs and figures.
"""

from typing import Any

import lazy_loader

_offered, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
# It needs scikit-learn, an extra, and whoever imports all there is (`import *`) may not have it.
__all__ = [name for name in __all__ if name != "DisinhibitoryClassifier"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # Imported here: slow to load, and rarely asked for.
        from importlib.metadata import version

        return version("disinhib")
    return _offered(name)
