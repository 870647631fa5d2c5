# SPDX-License-Identifier: MIT OR Apache-2.0
"""The kernel's own state, read by physical address: statics by their symbols, fields by the ELF's type descriptions."""
import gdb

import image
import machine
import places
import tables

MASK = machine.MASK
PHASES = ("Idle", "Gather", "Run", "Release")
STATES = ("absent", "checked in", "admitted", "online", "unusable")
COUNT = (1 << 14) - 1

# The symbols of the image, once it was looked at.
SYMBOLS = {}
# Physical minus link-time address, once a connection at reset has shown it.
OFFSETS = []


def symbols():
    """Returns the symbols of gdb's file."""
    path = gdb.current_progspace().filename
    if path is None:
        raise gdb.GdbError("no image: give gdb the ELF file first")
    if path not in SYMBOLS:
        SYMBOLS[path] = image.Symbols(path)
    return SYMBOLS[path]


def static(path):
    """Returns the link-time address and the type of a Rust static."""
    found = gdb.lookup_static_symbol(path)
    if found is None:
        raise gdb.GdbError(f"{path} is not in this image")
    linked = symbols().rust(path)
    if linked is not None:
        return linked, found.type
    address = int(found.value().address) & MASK
    # gdb has every symbol twice; which one it finds is its own choice.
    return address if address >= machine.UPPER_HALF else (address - OFFSETS[0]) & MASK, found.type


def field(kind, *names):
    """Offset and size of a field of a struct, and of a field of that."""
    offset = 0
    for name in names:
        found = next((one for one in kind.strip_typedefs().fields() if one.name == name), None)
        if found is None:
            raise gdb.GdbError(f"{kind} has no field {name}: is this the ELF file of the running image?")
        offset, kind = offset + found.bitpos // 8, found.type
    return offset, kind.sizeof


def find_type(kind, wanted, depth=8):
    """Returns the offset at which a type contains another, through any wrappers."""
    if str(kind.strip_typedefs()).endswith(wanted):
        return 0
    if depth == 0 or kind.code not in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
        return None
    for one in kind.fields():
        below = find_type(one.type, wanted, depth - 1) if hasattr(one, "bitpos") else None
        if below is not None:
            return one.bitpos // 8 + below
    return None


class Kernel:
    """The machine as it stands, for the length of one command: what was read once is not read again."""

    def __init__(self):
        self.tables = tables.Tables(machine.read_physical)

    def load_offset(self):
        """Physical minus link-time address of the image."""
        if OFFSETS:
            return OFFSETS[0]
        # Connected later: the image says where it is, once the MMU is on.
        at, _ = static("cleave::boot::LOAD_ADDRESS")
        try:
            loaded = int.from_bytes(machine.read_virtual(at, 8), "little")
        except gdb.MemoryError:
            raise gdb.GdbError("where the image lies is not known: connect while the machine is halted at reset")
        OFFSETS.append((loaded - places.IMAGE_BASE) & MASK)
        return OFFSETS[0]

    def physical(self, address):
        """Returns the physical address of an address of the kernel half, with the MMU on or off."""
        end = symbols().address("cleave_image_end")
        if places.IMAGE_BASE <= address < end:
            return (address + self.load_offset()) & MASK
        if places.LINEAR_BASE <= address < places.LINEAR_BASE + places.LINEAR_BYTES:
            return address - places.LINEAR_BASE
        found = self.tables.translate(self.static_root(), address)
        if found is None:
            raise gdb.GdbError(f"{address:#x} is not mapped")
        return found

    def read(self, address, size):
        """Bytes at a kernel address."""
        return machine.read_physical(self.physical(address), size)

    def number(self, address, kind, *names):
        """Returns an unsigned field of a struct at a kernel address."""
        offset, size = field(kind, *names)
        return int.from_bytes(self.read(address + offset, size), "little")

    def static_root(self):
        """Returns the TTBR1 root of the real map, from the image."""
        return (symbols().address("cleave_root") + self.load_offset()) & MASK

    def roots(self):
        """(name, root, base, where it is from) of both halves, as the selected CPU has them."""
        on = machine.mmu_is_on()
        for name, base in (("TTBR0", 0), ("TTBR1", places.LINEAR_BASE)):
            value = machine.register(f"{name}_EL1")
            if on is not False and value is not None:
                yield name, value & 0xFFFF_FFFF_F000, base, f"{name}_EL1"
            elif name == "TTBR1":
                why = "the MMU is off" if on is False else "no TTBR1_EL1 from this server"
                yield name, self.static_root(), base, f"cleave_root, {why}"

    def place(self, address):
        """Returns the description of a kernel address."""
        return places.place(address, symbols().address, (places.IMAGE_BASE + self.load_offset()) & MASK)

    def rendezvous(self):
        """Generation, phase, and how many CPUs have not arrived (in Release: have not left)."""
        at, kind = static("cleave::irq::ipi::RENDEZVOUS")
        word = self.number(at, kind, "state")
        phase = word >> 28 & 0xF
        name = PHASES[phase] if phase < len(PHASES) else f"{phase}?"
        return word >> 32, name, word & COUNT

    def change(self):
        """Returns the change under way: its fields by name; None when there is none."""
        at, kind = static("cleave::mm::repaint::under_way::UNDER_WAY")
        names = ("change", "level", "cpu", "ranges", "start", "end", "step", "tables", "attempts")
        found = {name: self.number(at, kind, name) for name in names}
        return found if found["change"] else None

    def frames(self):
        """(start, frames, free) of each region of the frame allocator."""
        at, kind = static("cleave::mm::memory::FRAMES")
        inner = find_type(kind, "BitmapFrames")
        if inner is None:
            raise gdb.GdbError("the frame allocator is not where it was")
        allocator = gdb.lookup_type("cleave::tables::frames::BitmapFrames")
        region = gdb.lookup_type("cleave::tables::frames::Region")
        at += inner
        used = self.number(at, allocator, "used")
        first, _ = field(allocator, "regions")
        found = []
        for index in range(min(used, 128)):
            one = at + first + index * region.sizeof
            found.append(tuple(self.number(one, region, name) for name in ("start", "frames", "free")))
        return found


class Cpu:
    """One CPU: gdb's thread, and its block if it has one."""

    def __init__(self, kernel, thread):
        self.kernel, self.thread = kernel, thread
        thread.switch()
        self.pc = machine.pc()
        self.level = machine.exception_level()
        self.block = machine.register("TPIDR_EL1") or 0
        self.kind = gdb.lookup_type("cleave::cpu::percpu::PerCpu")
        # Before the kernel runs the register holds its reset value.
        if self.block < machine.UPPER_HALF:
            self.block = 0
        self.id = self.number("id") if self.block else None

    def number(self, *names):
        """Returns a field of its block."""
        return self.kernel.number(self.block, self.kind, *names)

    def state(self):
        """Returns the CPU's state as text."""
        if not self.block:
            # QEMU says of a CPU that was never started that it is halted.
            return "off" if "halted" in (self.thread.details or "") else "booting"
        number = self.number("state", "stage")
        return STATES[number] if number < len(STATES) else f"{number}?"

    def is_parked(self):
        """Returns whether the CPU is between its arrival in a rendezvous and the release."""
        return bool(self.block) and bool(self.number("in_rendezvous"))

    def function(self):
        """Returns the function it is in."""
        if self.state() == "off":
            return "-"
        frame = gdb.newest_frame()
        # What the core library was inlined for says more than its name.
        while (frame.name() or "").startswith("core::") and frame.type() == gdb.INLINE_FRAME:
            frame = frame.older()
        name = frame.name()
        if name is None:
            linked = self.pc if self.pc >= machine.UPPER_HALF or not OFFSETS else (self.pc - OFFSETS[0]) & MASK
            found = symbols().around(linked)
            name = found[0] if found else f"{self.pc:#x}"
        return name.split("<")[0] if not name.startswith("<") else name

    def times(self):
        """Its part of the timeline, and the tables it filled."""
        slot = [self.number("state", "slot", name)
                for name in ("generation", "kicked", "arrived", "masked", "released")]
        return slot + [self.number("state", "filled")]


def cpus(kernel):
    """Every CPU gdb knows; the selected one stays selected."""
    with machine.Threads() as threads:
        for thread in threads:
            yield Cpu(kernel, thread)
