"""The image as its ELF file and the boot sources describe it: symbols, and where assembly comes from.

No gdb in here. gdb knows the same symbols, but twice (once for each half), and looks them up by the rules of the
language at hand; what is to be there in every state of the machine is asked for here.
"""
from __future__ import annotations

import bisect
import os
import re
import struct

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

SHT_SYMTAB = 2
# st_info: types that name code or data (ELF-64, symbol table).
STT_NAMED = (0, 1, 2)


class Symbols:
    """The symbol table of a 64-bit little-endian ELF file."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            data = file.read()
        self.by_name: dict[str, tuple[int, int]] = {}
        self._read(data)
        places = sorted((value, size, name) for name, (value, size) in self.by_name.items())
        self._values = [value for value, _, _ in places]
        self._places = places

    def _read(self, data: bytes) -> None:
        (shoff,) = struct.unpack_from("<Q", data, 40)
        entry_size, entries = struct.unpack_from("<HH", data, 58)
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + n * entry_size) for n in range(entries)]
        for _, kind, _, _, offset, size, link, _, _, _ in headers:
            if kind != SHT_SYMTAB:
                continue
            strings = headers[link][4]
            for at in range(offset, offset + size, 24):
                name, info, _, section, value, length = struct.unpack_from("<IBBHQQ", data, at)
                if section == 0 or info & 0xF not in STT_NAMED:
                    continue
                end = data.index(b"\0", strings + name)
                text = data[strings + name:end].decode("utf-8", "replace")
                # `$x` and its kind mark code and data for disassemblers.
                if text and not text.startswith("$"):
                    self.by_name.setdefault(text, (value, length))

    def address(self, name: str) -> int | None:
        """A symbol's link address. `*name`: the one that ends so."""
        if name.startswith("*"):
            found = [value for text, (value, _) in self.by_name.items() if text.endswith(name[1:])]
            return found[0] if len(found) == 1 else None
        return self.by_name.get(name, (None, 0))[0]

    def rust(self, path: str) -> int | None:
        """The link address of a Rust item by its path, as rustc's legacy mangling spells it."""
        start = "_ZN" + "".join(f"{len(part)}{part}" for part in path.split("::")) + "17h"
        found = [value for text, (value, _) in self.by_name.items() if text.startswith(start)]
        return found[0] if len(found) == 1 else None

    def around(self, address: int) -> tuple[str, int] | None:
        """The symbol that `address` lies in and the offset in it."""
        index = bisect.bisect_right(self._values, address) - 1
        # A few steps back: what is nested, and labels without a size that mark the same place.
        near = [self._places[at] for at in range(max(0, index - 8), index + 1)]
        holding = [place for place in near if place[0] <= address < place[0] + max(place[1], 1)]
        if not holding:
            return None
        value, _, name = max(holding, key=lambda place: (place[1] > 0, place[0]))
        return name, address - value


def boot_line(label: str) -> tuple[str, int, str] | None:
    """Where a label of the boot assembly stands: the file, the line of its first instruction, and that line."""
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
