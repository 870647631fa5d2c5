"""gdb's view of cleave: symbols in both halves, and names for the places worth stopping at.

    gdb-multiarch -x scripts/gdb/cleave.py ELF
    (gdb) cleave connect 1234
    (gdb) cleave break window
    (gdb) continue

The image is linked in the upper half and starts at its physical address, with the
MMU off. On connecting (also by `target remote`) the symbols are added a second time at
the address the loader chose, so that early code has names and lines too. `make debug`
does all of this by itself.
"""
import os
import sys

import gdb

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import image

ENTRY = "_start"

# Names for `cleave break`: the symbol, and what it means to be there.
PLACES = {
    "entry": (ENTRY, "first instruction, MMU off"),
    "main": ("kernel_main", "first Rust in the upper half"),
    "gather": ("cleave_gather", "a CPU was called to a rendezvous and is about to arrive"),
    "window": ("cleave_window", "inside the rendezvous window, on the leader"),
    "release": ("cleave_release", "a CPU goes on, the leader first"),
    "panic": ("*rust_begin_unwind", "the panic handler"),
}

# QEMU's stub in front of an arm64 image: `ldr x0, .+24` first, the kernel's entry at byte 32.
STUB_FIRST = 0x580000C0
STUB_ENTRY_AT = 32

UPPER_HALF = 1 << 63
MASK = 2**64 - 1

# Physical minus link-time address, once a connection has shown it.
OFFSETS = []
# The symbols of the image, once it was looked at.
SYMBOLS = {}


def symbols():
    """The symbols of gdb's file."""
    path = gdb.current_progspace().filename
    if path is None:
        raise gdb.GdbError("no image: give gdb the ELF file first")
    if path not in SYMBOLS:
        SYMBOLS[path] = image.Symbols(path)
    return SYMBOLS[path]


def word(address, size):
    """An unsigned little-endian word of the machine's memory."""
    data = gdb.selected_inferior().read_memory(address, size)
    return int.from_bytes(bytes(data), "little")


def address_of(symbol):
    """A symbol's link-time address, or None."""
    return symbols().address(symbol)


def pc():
    """The program counter of the selected CPU."""
    return int(gdb.selected_frame().read_register("pc")) & MASK


def physical_entry():
    """Where the loader put `_start`, read from QEMU's stub at reset; None later on."""
    here = pc()
    if here >= UPPER_HALF:
        return None
    try:
        return word(here + STUB_ENTRY_AT, 8) if word(here, 4) == STUB_FIRST else here
    except gdb.MemoryError:
        return None


def add_physical_symbols():
    """Adds the symbols where the image runs before the MMU is on."""
    linked, loaded = address_of(ENTRY), physical_entry()
    if OFFSETS or linked is None or loaded is None or linked == loaded:
        return
    offset = (loaded - linked) & MASK
    OFFSETS.append(offset)
    gdb.execute(f"add-symbol-file '{gdb.current_progspace().filename}' -o {offset:#x}", to_string=True)
    print(f"cleave: image at {loaded:#x}, linked at {linked:#x}")


def tell_assembly(event):
    """On a stop in the boot assembly, which has no line table: the label's place in its source."""
    try:
        here = pc()
        if gdb.selected_frame().find_sal().symtab is not None:
            return
    except gdb.error:
        return
    linked = here if here >= UPPER_HALF or not OFFSETS else (here - OFFSETS[0]) & MASK
    found = symbols().around(linked)
    line = found and image.boot_line(found[0])
    if line:
        name, offset = found
        print(f"{line[0]}:{line[1]}: {name}: {line[2]}" if offset == 0 else
              f"{line[0]}:{line[1]}: {offset} bytes into {name}")


class Cleave(gdb.Command):
    """Commands for the cleave kernel."""

    def __init__(self):
        super().__init__("cleave", gdb.COMMAND_USER, prefix=True)


class Connect(gdb.Command):
    """cleave connect [PORT]: connects to the gdb server of `make debug` (1234)."""

    def __init__(self):
        super().__init__("cleave connect", gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        gdb.execute(f"target remote localhost:{int(argument or 1234)}")


class Symbols(gdb.Command):
    """cleave symbols: adds the symbols of the physical half; runs at every connect."""

    def __init__(self):
        super().__init__("cleave symbols", gdb.COMMAND_FILES)

    def invoke(self, argument, from_tty):
        add_physical_symbols()


class Break(gdb.Command):
    """cleave break NAME: stops at a named place; without a name lists them."""

    def __init__(self):
        super().__init__("cleave break", gdb.COMMAND_BREAKPOINTS)

    def complete(self, text, word):
        return [name for name in PLACES if name.startswith(text)]

    def invoke(self, argument, from_tty):
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
    Cleave(), Connect(), Symbols(), Break()
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
