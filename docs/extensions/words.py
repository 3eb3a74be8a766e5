"""How words of the command line stand in a page."""

from __future__ import annotations

import re


def with_options(text: str) -> str:
    """Mark options as code, which no dash is made of."""
    return re.sub(r"(?<![\w`-])--[a-z][\w-]*", r"`\g<0>`", text)
