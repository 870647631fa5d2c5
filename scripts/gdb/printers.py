# SPDX-License-Identifier: MIT OR Apache-2.0
"""Pretty-printers of the kernel's own types: addresses, ranges, descriptors, attributes."""
import gdb
import gdb.printing

import places
import tables


def number(value):
    """Returns the integer inside a newtype, however deep."""
    while value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        value = value[value.type.fields()[0]]
    return int(value) & tables.MASK


class Address:
    """PhysAddr, VirtAddr: the number, and the half of a virtual one."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        found = number(self.value)
        if str(self.value.type).endswith("PhysAddr"):
            return f"PA {found:#x}"
        area = next((name for name, start, size in places.AREAS if start <= found < start + size), None)
        return f"VA {found:#x}" + (f" ({area})" if area else "")


class Range:
    """PhysRange: both ends and the size."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        start, end = number(self.value["start"]), number(self.value["end"])
        return f"PA {start:#x}..{end:#x} ({tables.size_text(max(0, end - start))})"


class Descriptor:
    """A descriptor without its level: as what it would be in a table above level 3, and as a page."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        found = number(self.value)
        if tables.kind(found, 2) == "table":
            # Bit 1 is set in tables and in pages: only the level says which.
            return f"{found:#018x} ({tables.decode(found, 2)} | {tables.decode(found, 3)})"
        return f"{found:#018x} ({tables.decode(found, 2)})"


class Attributes:
    """Attributes: memory type, permissions, scope."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        words = [str(self.value[name]).split("::")[-1] for name in ("memory", "permissions", "scope")]
        return "Attributes " + " ".join(words)


def register():
    """Makes gdb use them."""
    found = gdb.printing.RegexpCollectionPrettyPrinter("cleave")
    found.add_printer("address", r"^cleave::tables::address::(Phys|Virt)Addr$", Address)
    found.add_printer("range", r"^cleave::tables::address::PhysRange$", Range)
    found.add_printer("descriptor", r"^cleave::tables::descriptor::Descriptor$", Descriptor)
    found.add_printer("attributes", r"^cleave::tables::attributes::Attributes$", Attributes)
    gdb.printing.register_pretty_printer(None, found, replace=True)
