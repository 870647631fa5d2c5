# SPDX-License-Identifier: MIT OR Apache-2.0
"""The symbols of an ELF file, and return addresses in a console's text turned into names."""
from __future__ import annotations

import bisect
import os
import re
import struct

from demangle import demangle

SHT_SYMTAB = 2
# st_info: types that name code or data (ELF-64, symbol table).
STT_NAMED = (0, 1, 2)

# A frame of a backtrace as the kernel prints it.
FRAME = re.compile(rb"^  (#\d+ +|at  |lr  )(0x[0-9a-f]{16})(?=\s|$)")
# The line before the program counter of another CPU, which is printed as a frame.
STOPPED = re.compile(rb"^  CPU \d+: stopped at\s*$")
# The assembly that takes an exception (boot/vectors.S). The frame above it is the interrupted instruction.
EXCEPTION_ENTRIES = ("cleave_thread_exception", "cleave_handler_exception", "cleave_irq")
INSTRUCTION = 4


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
        """Returns a symbol's link address. `*name`: the one that ends so."""
        if name.startswith("*"):
            found = [value for text, (value, _) in self.by_name.items() if text.endswith(name[1:])]
            return found[0] if len(found) == 1 else None
        return self.by_name.get(name, (None, 0))[0]

    def rust(self, path: str) -> int | None:
        """Returns the link address of a Rust item by its path, as rustc's legacy mangling spells it."""
        start = "_ZN" + "".join(f"{len(part)}{part}" for part in path.split("::")) + "17h"
        found = [value for text, (value, _) in self.by_name.items() if text.startswith(start)]
        return found[0] if len(found) == 1 else None

    def around(self, address: int) -> tuple[str, int] | None:
        """Returns the symbol that contains `address`, and the offset in it."""
        index = bisect.bisect_right(self._values, address) - 1
        # A few steps back: what is nested, and labels without a size that mark the same place.
        near = [self._places[at] for at in range(max(0, index - 8), index + 1)]
        holding = [place for place in near if place[0] <= address < place[0] + max(place[1], 1)]
        if not holding:
            return None
        value, _, name = max(holding, key=lambda place: (place[1] > 0, place[0]))
        return name, address - value


class Backtraces:
    """Writes the name behind each address of a backtrace. Without symbols the lines stay as they are."""

    def __init__(self, image: str) -> None:
        beside = os.path.join(os.path.dirname(image), "cleave.elf")
        self._files = [image, beside]
        self._symbols: Symbols | None = None
        self._exact = False  # whether the next frame is a program counter

    def annotate(self, line: bytes) -> bytes:
        """Returns a line of the console, with its line end."""
        found = FRAME.match(line)
        if not found:
            self._exact = STOPPED.match(line) is not None
            return line
        exact = self._exact or found.group(1) == b"at  "
        self._exact = False
        place = self._place(int(found.group(2), 16), exact)
        if not place:
            return line
        self._exact = place[0] in EXCEPTION_ENTRIES
        text = line.rstrip(b"\r\n")
        return text + f"  {demangle(place[0])}+{place[1]:#x}".encode() + line[len(text):]

    def _place(self, address: int, exact: bool) -> tuple[str, int] | None:
        """Returns the symbol and the offset of a program counter (`exact`) or of a return address.

        A call that does not return is the last instruction of its function, so its return address belongs to the
        next function. The call itself is one instruction before.
        """
        if self._symbols is None:
            self._symbols = self._load()
        back = 0 if exact else INSTRUCTION
        found = self._symbols and self._symbols.around(address - back)
        return (found[0], found[1] + back) if found else None

    def _load(self) -> Symbols | None:
        for path in self._files:
            try:
                with open(path, "rb") as file:
                    if file.read(4) == b"\x7fELF":
                        return Symbols(path)
            except OSError:
                continue
        return None
