# SPDX-License-Identifier: MIT OR Apache-2.0
"""The way into every program in scripts/: an unexpected error is one sentence and status 2, never a traceback.

Status 1 of scripts/qemu means that the kernel said fail, so that nothing else may end with it.
"""
from __future__ import annotations

import os
import sys
import traceback

UNEXPECTED = 2


def run(main, says: str | None = None, stream=None) -> None:
    """Ends the program with the status that `main` returns. `says` begins the sentence about an error, on `stream`."""
    try:
        try:
            status = main()
        except SystemExit as end:
            status = end.code
        # A reader that has gone away shows here, not in the interpreter's last moments.
        sys.stdout.flush()
    except BaseException as error:
        status = explain(error, says or os.path.basename(sys.argv[0]), stream or sys.stderr)
    sys.exit(status)


def explain(error: BaseException, says: str, stream) -> int:
    """Prints the sentence about an error; returns the exit status."""
    try:
        if not isinstance(error, BrokenPipeError):
            print(f"{says}: {sentence(error)}", file=stream, flush=True)
    except OSError:
        error = BrokenPipeError()
    if isinstance(error, BrokenPipeError):
        # `| head`: what is still in the buffers goes nowhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for file in (sys.stdout, sys.stderr):
            os.dup2(nowhere, file.fileno())
    return UNEXPECTED


def sentence(error: BaseException) -> str:
    """Returns one line that says what an error is, and where it was raised if it was not foreseen."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    text = (str(error).strip().splitlines() or ["no text"])[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__}: {text} ({os.path.basename(place.filename)}:{place.lineno})"
