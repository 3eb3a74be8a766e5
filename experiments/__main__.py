"""Where the command begins: from here on Ctrl-C ends it in a line, whatever is being imported.

So nothing else is imported before that is arranged.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    # There is nothing to lose yet, and libraries may well swallow an exception while they load.
    signal.signal(signal.SIGINT, _end)
    hook = sys.unraisablehook

    def unraisable(problem: sys.UnraisableHookArgs) -> None:
        # Where no exception can pass, as in what runs when an object is freed.
        if issubclass(problem.exc_type, KeyboardInterrupt):
            _end()
        hook(problem)

    sys.unraisablehook = unraisable
    from .command_line import main as command_line

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            command_line()
        except SystemExit as ending:
            # All is written and said: what is left, Python would answer with a traceback.
            code = ending.code if isinstance(ending.code, int) else 1
            signal.signal(signal.SIGINT, lambda *_: os._exit(code))
            raise
    except KeyboardInterrupt:
        # A second one, amid what the first set going.
        _end()


def _end(number: int = 0, frame: FrameType | None = None) -> None:
    with suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h")  # the cursor, which a progress bar hides
        os.write(2, b"disinhib: interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
