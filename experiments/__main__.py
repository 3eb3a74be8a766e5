"""Where the command begins: from here on Ctrl-C ends it in a line, whatever is being imported.

So nothing else is imported before that is arranged.
"""

from __future__ import annotations

import atexit
import gc
import os
import re
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
    _see_to_environment()
    from .loading import loading

    # As the process ends, all that it has loaded goes with it; Python would look for garbage in it
    # once more, for a quarter of a second. What is registered first is called last.
    atexit.register(gc.freeze)
    with loading():
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


def _see_to_environment() -> None:
    """Put right or refuse what libraries read as they are loaded, and end in a traceback over."""
    # Pictures go to files: which windows are wanted, and whether there can be any, is no matter.
    os.environ["MPLBACKEND"] = "agg"
    date = os.environ.get("SOURCE_DATE_EPOCH")
    if date is not None and not re.fullmatch("-?[0-9]{1,11}", date):
        print(
            f"disinhib: SOURCE_DATE_EPOCH is {date[:60]!a}: a whole number of seconds since 1970 "
            "is needed, or none",
            file=sys.stderr,
        )
        sys.exit(2)


def _end(number: int = 0, frame: FrameType | None = None) -> None:
    with suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h")  # the cursor, which a progress bar hides
        os.write(2, b"disinhib: interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
