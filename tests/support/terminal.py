#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs a program in a pseudo-terminal and types into it: what a person does, for tests.

    tests/support/terminal.py PROGRAM [ARGUMENT]... < STEPS

STEPS is a JSON list of [wait, type] pairs: wait for that text behind what was waited for before, then type the other
(each character a byte). Prints everything the program wrote; ends with its status, or 124 when a text does not come.
"""
import json
import os
import pty
import select
import sys
import time

PATIENCE = 60.0


def read(terminal: int, deadline: float) -> bytes:
    """What the program writes next; nothing at its end. Raises TimeoutError."""
    left = deadline - time.monotonic()
    if left <= 0 or not select.select([terminal], [], [], left)[0]:
        raise TimeoutError
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Linux's way to say that the other end is closed.
        return b""


def main() -> int:
    steps = json.load(sys.stdin)
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    seen, at, deadline = b"", 0, time.monotonic() + PATIENCE
    try:
        for wait, text in steps:
            wanted = wait.encode()
            while wanted not in seen[at:]:
                data = read(terminal, deadline)
                if not data:
                    raise TimeoutError
                seen += data
            at = seen.index(wanted, at) + len(wanted)
            # In small pieces: a terminal holds no more than a line or two, and the kernel takes them as it can.
            typed = text.encode("latin-1")
            while typed:
                _, ready, _ = select.select([], [terminal], [], max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise TimeoutError
                typed = typed[os.write(terminal, typed[:256]):]
                while select.select([terminal], [], [], 0)[0]:
                    data = read(terminal, deadline)
                    if not data:
                        break
                    seen += data
        while data := read(terminal, deadline):
            seen += data
    except TimeoutError:
        sys.stdout.buffer.write(seen)
        print(f"\nterminal: waited in vain for {wanted!r} behind byte {at}", flush=True)
        os.close(terminal)
        time.sleep(0.5)
        try:
            os.kill(child, 9)
        except ProcessLookupError:
            pass
        os.waitpid(child, 0)
        return 124
    sys.stdout.buffer.write(seen)
    sys.stdout.flush()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
