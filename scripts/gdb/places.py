# SPDX-License-Identifier: MIT OR Apache-2.0
"""The descriptions of kernel addresses, in the words of the kernel's own reports.

No gdb in here. The numbers are those of src/mm/layout.rs; a test compares them.
"""
from __future__ import annotations

PAGE = 4096
LINEAR_BASE = 0xFFFF_0000_0000_0000
LINEAR_BYTES = 1 << 47
IMAGE_BASE = 0xFFFF_8000_8000_0000
KERNEL_AREA = 0xFFFF_8001_0000_0000
DEVICE_AREA = 0xFFFF_8002_0000_0000
TEMPORARY_AREA = 0xFFFF_8003_0000_0000
HEAP_AREA = 0xFFFF_8004_0000_0000
AREA_BYTES = 1 << 32
SLOT_STRIDE = 32 * PAGE

# Parts of a slot with their pages; an unmapped page lies below each.
PARTS = (("thread stack", 16), ("exception stack", 4), ("emergency stack", 4), ("per-CPU block", 1))
SECTIONS = (("text", "Text"), ("rodata", "Rodata"), ("ro_after_init", "read-only after init"), ("data", "Data"),
            ("bss", "Bss"), ("tables", "Tables"))
AREAS = (("the linear map", LINEAR_BASE, LINEAR_BYTES), ("the device area", DEVICE_AREA, AREA_BYTES),
         ("the temporary area", TEMPORARY_AREA, AREA_BYTES), ("the heap", HEAP_AREA, AREA_BYTES))


def in_slot(cpu: int, offset: int) -> str:
    """Returns the part of a slot at an offset."""
    at = 0
    for name, pages in PARTS:
        if offset < at + PAGE:
            if name == "per-CPU block":
                return f"the unmapped page below the per-CPU block of CPU {cpu}"
            return f"guard page of the {name} of CPU {cpu}"
        at += PAGE
        if offset < at + pages * PAGE:
            return f"the {name} of CPU {cpu}"
        at += pages * PAGE
    return f"unused room of CPU {cpu}'s slot"


def place(address: int, symbol, load_address: int | None = None) -> str:
    """Returns the description of an address. `symbol(name)` gives a linker symbol's address."""
    if KERNEL_AREA <= address < KERNEL_AREA + AREA_BYTES:
        cpu, offset = divmod(address - KERNEL_AREA, SLOT_STRIDE)
        return in_slot(cpu, offset)
    boot = symbol("cleave_boot_slot")
    end = symbol("cleave_stacks_end")
    if boot is not None and end is not None and boot <= address < end:
        return in_slot(0, address - boot)
    for section, name in SECTIONS:
        start, end = symbol(f"cleave_{section}_start"), symbol(f"cleave_{section}_end")
        if start is not None and end is not None and start <= address < end:
            return f"the kernel image ({name})"
    if load_address is not None:
        first, last = symbol("cleave_text_start"), symbol("cleave_ro_after_init_end")
        physical = address - LINEAR_BASE - load_address + IMAGE_BASE
        if first <= physical < last:
            start = symbol("cleave_ro_after_init_start")
            part = " (read-only after init)" if start is not None and start <= physical else ""
            return f"the kernel alias in the linear map{part}"
    for name, start, size in AREAS:
        if start <= address < start + size:
            return name
    if address < PAGE:
        return "a null pointer"
    return "the temporary mapping" if address < LINEAR_BYTES else "nothing the kernel maps"
