# SPDX-License-Identifier: MIT OR Apache-2.0
"""gdb's view of cleave: symbols in both halves, named stops, and commands that read the kernel's state.

    gdb-multiarch -x scripts/gdb/cleave.py ELF
    (gdb) cleave connect 1234
    (gdb) cleave break window
    (gdb) continue
    (gdb) help cleave

The image is linked in the upper half and starts at its physical address, with the
MMU off. On connecting (also by `target remote`) the symbols are added a second time at
the address the loader chose, so that early code has names and lines too. `make debug`
does all of this by itself.
"""
import os
import sys

import gdb

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import commands
import image
import kernel
import machine
import printers

ENTRY = "_start"

# Names for `cleave break`: the symbol, and what it means to be there.
PLACES = {
    "entry": (ENTRY, "first instruction, MMU off"),
    "main": ("kernel_main", "first Rust in the upper half"),
    "change": ("cleave_change", "a change of the linear map has its tables, and nothing has changed yet"),
    "gather": ("cleave_gather", "a CPU was called to a rendezvous and is about to arrive"),
    "window": ("cleave_window", "inside the stop window, on the leader"),
    "release": ("cleave_release", "a CPU goes on, the map whole again"),
    "panic": ("*rust_begin_unwind", "the panic handler"),
}

# QEMU's stub in front of an arm64 image: `ldr x0, .+24` first, the kernel's entry at byte 32.
STUB_FIRST = 0x580000C0
STUB_ENTRY_AT = 32


def physical_entry():
    """Returns the address of `_start` in memory, read from QEMU's stub at reset; None later on."""
    here = machine.pc()
    if here >= machine.UPPER_HALF:
        return None
    try:
        word = int.from_bytes(machine.read_virtual(here, 4), "little")
        if word != STUB_FIRST:
            return here
        return int.from_bytes(machine.read_virtual(here + STUB_ENTRY_AT, 8), "little")
    except gdb.MemoryError:
        return None


def add_physical_symbols():
    """Adds the symbols where the image runs before the MMU is on."""
    linked, loaded = kernel.symbols().address(ENTRY), physical_entry()
    if kernel.OFFSETS or linked is None or loaded is None or linked == loaded:
        return
    offset = (loaded - linked) & machine.MASK
    kernel.OFFSETS.append(offset)
    gdb.execute(f"add-symbol-file '{gdb.current_progspace().filename}' -o {offset:#x}", to_string=True)
    print(f"cleave: image at {loaded:#x}, linked at {linked:#x}")


def tell_assembly(event):
    """On a stop in the boot assembly, which has no line table: the label's place in its source."""
    try:
        here = machine.pc()
        if gdb.selected_frame().find_sal().symtab is not None:
            return
    except gdb.error:
        return
    linked = here if here >= machine.UPPER_HALF or not kernel.OFFSETS else (here - kernel.OFFSETS[0]) & machine.MASK
    found = kernel.symbols().around(linked)
    line = found and image.boot_line(found[0])
    if line:
        name, offset = found
        print(f"{line[0]}:{line[1]}: " + (f"{name}: {line[2]}" if offset == 0 else f"{offset} bytes into {name}"))


class Cleave(gdb.Command):
    """Commands for the cleave kernel; all of them read, but for the stops.

cleave connect [PORT]   connects to the gdb server of `make debug`, or to OpenOCD's
cleave symbols          adds the symbols of the physical half (by itself on connecting)
cleave break [NAME]     stops at entry, main, change, gather, window, release or panic
cleave pt VA            the way from the root table to an address, every descriptor by name
cleave map [TTBR]       everything mapped, folded to ranges
cleave cpus             every CPU: state, exception level, parked or not, function
cleave change           the change of the linear map that is under way
cleave rendezvous       phase, generation, the CPUs in it
cleave timeline         when each CPU came to the last rendezvous and left
cleave frames           the frame allocator

`help cleave NAME` has the use of each and an example. Tables and state are read by physical
address: everything works with the MMU off, and while the linear map is broken."""

    def __init__(self):
        super().__init__("cleave", gdb.COMMAND_USER, prefix=True)


class Connect(gdb.Command):
    """cleave connect [PORT]: connects to the gdb server of `make debug` (1234).

OpenOCD's is 3333.
Example: cleave connect 1234"""

    def __init__(self):
        super().__init__("cleave connect", gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        try:
            port = int(argument or 1234)
        except ValueError:
            raise gdb.GdbError("usage: cleave connect [PORT]")
        gdb.execute(f"target remote localhost:{port}")


class Symbols(gdb.Command):
    """cleave symbols: adds the symbols of the physical half; runs at every connect.

Only before the MMU is on does the program counter tell where the image lies.
Example: cleave symbols"""

    def __init__(self):
        super().__init__("cleave symbols", gdb.COMMAND_FILES)

    def invoke(self, argument, from_tty):
        add_physical_symbols()


class Break(gdb.Command):
    """cleave break [NAME]: stops at a named place; without a name lists them.

entry, main, change, gather, window, release, panic, or any symbol of the image.
Example: cleave break window"""

    def __init__(self):
        super().__init__("cleave break", gdb.COMMAND_BREAKPOINTS)

    def complete(self, text, word):
        return [name for name in PLACES if name.startswith(text)]

    def invoke(self, argument, from_tty):
        address_of = kernel.symbols().address
        if not argument:
            for name, (symbol, meaning) in PLACES.items():
                there = "" if address_of(symbol) is not None else " (not in this image)"
                print(f"{name:8} {symbol.lstrip('*'):20} {meaning}{there}")
            return
        symbol = PLACES.get(argument, (argument,))[0]
        if address_of(symbol) is None:
            raise gdb.GdbError(f"no symbol {symbol} in this image")
        # The label itself, not past a prologue: assembly and window code have none.
        gdb.Breakpoint(f"*{address_of(symbol):#x}")
        # The entry runs at its physical address only, with the MMU off.
        if argument == "entry" and physical_entry() is not None:
            gdb.Breakpoint(f"*{physical_entry():#x}")


def main():
    """Sets gdb up; connects when `make debug` says where to."""
    for setting in ("confirm off", "pagination off", "architecture aarch64"):
        gdb.execute(f"set {setting}")
    for command in (Cleave, Connect, Symbols, Break, *commands.ALL):
        command()
    printers.register()
    gdb.events.stop.connect(tell_assembly)
    if gdb.current_progspace().filename is None:
        target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(image.ROOT, "target")
        elf = os.path.join(target, "aarch64-unknown-none-softfloat", "release", "cleave")
        if os.path.exists(elf):
            gdb.execute(f"file {elf}")
    gdb.execute("define target hookpost-remote\ncleave symbols\nend")
    port = os.environ.get("CLEAVE_GDB_PORT")
    if port:
        gdb.execute(f"cleave connect {port}")
        gdb.execute("cleave break")


main()
