# SPDX-License-Identifier: MIT OR Apache-2.0
"""The machine behind gdb: physical memory, registers, and where the image lies.

Physical memory is read past the MMU, so that tables can be looked at while the map is broken or the MMU is off:
from QEMU's gdb server in its physical memory mode, from OpenOCD by its `mdd phys`.
"""
import re

import gdb

from openocd import from_openocd

MASK = 2**64 - 1
UPPER_HALF = 1 << 63
PAGE = 4096


def monitor(command):
    """Returns the output of the server's own command."""
    return gdb.execute(f"monitor {command}", to_string=True)


def packet(text):
    """Returns a packet of the remote protocol and its answer, as text."""
    answer = gdb.execute(f"maintenance packet {text}", to_string=True)
    found = re.search(r'^received: "(.*)"', answer, re.M)
    return found.group(1) if found else ""


def is_qemu():
    """QEMU's server knows a mode for physical memory."""
    return packet("qqemu.PhyMemMode") in ("0", "1")


def read_virtual(address, size):
    """Memory as the selected CPU sees it."""
    return bytes(gdb.selected_inferior().read_memory(address, size))


def read_physical(address, size):
    """Reads physical memory, with the MMU on or off."""
    if is_qemu():
        packet("Qqemu.PhyMemMode:1")
        try:
            return read_virtual(address, size)
        finally:
            packet("Qqemu.PhyMemMode:0")
    return from_openocd(monitor(f"mdd phys {address:#x} {(size + 7) // 8}"))[:size]


def register(name):
    """Returns a register of the selected CPU by any spelling of its name; None where the server does not give it."""
    frame = gdb.newest_frame()
    for spelling in (name, name.upper(), name.lower()):
        try:
            return int(frame.read_register(spelling)) & MASK
        except (gdb.error, ValueError):
            continue
    return None


def pc():
    """Returns the program counter of the selected CPU."""
    return register("pc")


def mmu_is_on():
    """SCTLR_EL1.M; None where the server does not give it."""
    found = register("SCTLR")
    found = register("SCTLR_EL1") if found is None else found
    return None if found is None else bool(found & 1)


def exception_level():
    """PSTATE.EL of the selected CPU."""
    found = register("cpsr")
    return None if found is None else found >> 2 & 0b11


class Threads:
    """Goes over the CPUs and comes back to the one that was selected."""

    def __enter__(self):
        self._selected = gdb.selected_thread()
        return sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num)

    def __exit__(self, *_):
        if self._selected is not None:
            self._selected.switch()
