# SPDX-License-Identifier: MIT OR Apache-2.0
"""Stage 1 translation tables, 4 KiB granule and 48-bit addresses, from a function that reads physical memory.

No gdb in here. The words are those of the kernel's own dump (crates/cleave/src/tables/dump.rs); tests hold the two together.
Bits are those of the Arm ARM, DDI 0487, D8.3 (stage 1 descriptors).
"""
from __future__ import annotations

import struct
from dataclasses import dataclass, replace

PAGE = 4096
ADDRESS = 0x0000_FFFF_FFFF_F000
SHIFTS = (39, 30, 21, 12)
TABLE_BITS = ((63, "NSTable"), (62, "APTable[1]"), (61, "APTable[0]"), (60, "UXNTable"), (59, "PXNTable"))
TABLE_RESTRICTIONS = 0xF800_0000_0000_0000
MEMORY = {0: "normal", 1: "device", 2: "non-cacheable"}
SHARING = ("non-shareable", "reserved-SH", "outer", "inner")
UNITS = ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"))
MASK = 2**64 - 1


def bit(value: int, number: int) -> bool:
    """Returns one bit."""
    return bool(value >> number & 1)


def size_parts(size: int) -> tuple[int, str]:
    """Bytes in the largest unit that says them exactly."""
    for shift, unit in UNITS:
        if size and size % (1 << shift) == 0:
            return size >> shift, unit
    return size, "B"


def size_text(size: int) -> str:
    """Returns the size as text."""
    number, unit = size_parts(size)
    return f"{number} {unit}"


def short(size: int) -> str:
    """As leaves are called: 4K, 2M, 1G."""
    number, unit = size_parts(size)
    return f"{number}{unit[:1]}"


def kind(descriptor: int, level: int) -> str:
    """empty, table, leaf, invalid (a leaf made invalid) or reserved."""
    if descriptor == 0:
        return "empty"
    valid, table_or_page = bit(descriptor, 0), bit(descriptor, 1)
    if level == 3:
        return ("leaf" if valid else "invalid") if table_or_page else "reserved"
    if valid and table_or_page:
        return "table"
    if level in (1, 2) and not table_or_page:
        return "leaf" if valid else "invalid"
    return "reserved"


def output(descriptor: int, level: int) -> int:
    """Returns a leaf's output address, or a table's address."""
    address = descriptor & ADDRESS
    return address if kind(descriptor, level) == "table" else address & ~((1 << SHIFTS[level]) - 1)


def memory(descriptor: int) -> str:
    """Returns the memory type by its index into MAIR_EL1."""
    return MEMORY.get(descriptor >> 2 & 0b111, "unknown type")


def attributes(descriptor: int) -> str:
    """Returns a leaf's attributes by their names."""
    text = memory(descriptor) + (" ro" if bit(descriptor, 7) else " rw")
    text += " PXN" if bit(descriptor, 53) else ""
    for name, number in (("UXN", 54), ("AF", 10), ("EL0", 6), ("nG", 11)):
        text += f" {name}" if bit(descriptor, number) else ""
    text += " " + SHARING[descriptor >> 8 & 0b11]
    return text + (" contiguous" if bit(descriptor, 52) else "")


def decode(descriptor: int, level: int) -> str:
    """Returns the fields of a descriptor of that level, by their names."""
    found = kind(descriptor, level)
    if found == "empty":
        return "nothing"
    if found == "reserved":
        return "reserved"
    if found == "table":
        names = "".join(f" {name}" for number, name in TABLE_BITS if bit(descriptor, number))
        return f"table {output(descriptor, level):#x}{names}"
    leaf = "page" if level == 3 else "block"
    text = f"{leaf} {short(1 << SHIFTS[level])} -> {output(descriptor, level):#x} {attributes(descriptor)}"
    return f"invalid {text}" if found == "invalid" else text


@dataclass(frozen=True)
class Run:
    """Adjacent leaves that differ in nothing but their addresses, which go up together."""

    start: int
    size: int
    output: int
    level: int
    leaf: int
    restrictions: int

    def follows(self, other: "Run") -> bool:
        """Returns whether this run continues the other one."""
        ignored = ADDRESS | 1 << 52 | 1 << 1
        return (kind(self.leaf, self.level) == kind(other.leaf, other.level) != "reserved"
                and self.level == other.level
                and self.leaf & ~ignored == other.leaf & ~ignored
                and bit(self.leaf, 52) == bit(other.leaf, 52)
                and self.restrictions == other.restrictions
                and other.start + other.size == self.start and other.output + other.size == self.output)

    def writable(self) -> bool:
        """By EL1, tables above counted."""
        return not bit(self.leaf, 7) and not bit(self.restrictions, 62)

    def executable(self) -> bool:
        """By EL1, tables above counted."""
        return not bit(self.leaf, 53) and not bit(self.restrictions, 59)

    def __str__(self) -> str:
        one = 1 << SHIFTS[self.level]
        leaf = ("cont" if bit(self.leaf, 52) else "") + short(one)
        text = f"{self.start:#018x}..{self.start + self.size & MASK:#018x} {size_text(self.size):>8} "
        text += f"{self.size // one:>6}x{leaf:<7}"
        found = kind(self.leaf, self.level)
        if found == "reserved":
            return f"{text} reserved descriptor {self.leaf:#018x}"
        if found == "invalid":
            text += " ---"
        else:
            text += f" r{'w' if self.writable() else '-'}{'x' if self.executable() else '-'}"
        text += f" {memory(self.leaf):<13} -> {self.output:#012x}"
        return text + (" W+X!" if found == "leaf" and self.writable() and self.executable() else "")


class Tables:
    """A tree of tables, read once: `read(address, size)` gives physical memory."""

    def __init__(self, read) -> None:
        self._read = read
        self._tables: dict[int, tuple[int, ...]] = {}

    def table(self, at: int) -> tuple[int, ...]:
        """Returns the 512 descriptors of the table at `at`."""
        if at not in self._tables:
            self._tables[at] = struct.unpack("<512Q", self._read(at, PAGE))
        return self._tables[at]

    def path(self, root: int, address: int):
        """(level, index, slot, descriptor) of every level on the way to an address."""
        table = root
        for level in range(4):
            index = address >> SHIFTS[level] & 511
            descriptor = self.table(table)[index]
            yield level, index, table + 8 * index, descriptor
            if kind(descriptor, level) != "table":
                return
            table = output(descriptor, level)

    def translate(self, root: int, address: int) -> int | None:
        """Returns the physical address that an address translates to."""
        level, _, _, descriptor = list(self.path(root, address))[-1]
        if kind(descriptor, level) != "leaf":
            return None
        return output(descriptor, level) | address & (1 << SHIFTS[level]) - 1

    def leaves(self, table: int, base: int, level: int = 0, restrictions: int = 0):
        """Every leaf, present or invalid, as a Run of its own."""
        for index, descriptor in enumerate(self.table(table)):
            found = kind(descriptor, level)
            start = base + (index << SHIFTS[level])
            if found == "table":
                below = restrictions | descriptor & TABLE_RESTRICTIONS
                yield from self.leaves(output(descriptor, level), start, level + 1, below)
            elif found != "empty":
                at = 0 if found == "reserved" else output(descriptor, level)
                yield Run(start, 1 << SHIFTS[level], at, level, descriptor, restrictions)

    def runs(self, root: int, base: int):
        """The leaves, folded."""
        held = None
        for leaf in self.leaves(root, base):
            if held is not None and leaf.follows(held):
                held = replace(held, size=held.size + leaf.size, restrictions=leaf.restrictions)
                continue
            if held is not None:
                yield held
            held = leaf
        if held is not None:
            yield held
