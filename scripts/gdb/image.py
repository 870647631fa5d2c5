# SPDX-License-Identifier: MIT OR Apache-2.0
"""The image as its ELF file and the boot sources describe it: symbols, and where assembly comes from.

No gdb in here. gdb knows the same symbols, but twice (once for each half), and looks them up by the rules of the
language at hand; what is to be there in every state of the machine is asked for here.
"""
from __future__ import annotations

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

sys.path.insert(0, os.path.join(ROOT, "scripts", "lib"))
from symbols import Symbols  # noqa: E402,F401: part of what this module offers


def boot_line(label: str) -> tuple[str, int, str] | None:
    """Returns the place of a label of the boot assembly: the file, the line of its first instruction, and that line."""
    folder = os.path.join(ROOT, "boot")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if not name.endswith(".S"):
            continue
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            lines = file.read().splitlines()
        for number, line in enumerate(lines):
            if re.match(rf"{re.escape(label)}:", line):
                for below in range(number + 1, len(lines)):
                    text = lines[below].split("//")[0].strip()
                    if text and not text.startswith(".") and not text.endswith(":"):
                        return f"boot/{name}", below + 1, lines[below].strip()
    return None
