# SPDX-License-Identifier: MIT OR Apache-2.0
"""The commands that only read: pt, map, cpus, change, rendezvous, timeline, frames. Each names its use and an example in `help`."""
import gdb

import kernel
import machine
import tables


class Look(gdb.Command):
    """A command that only reads."""

    def __init__(self):
        super().__init__(self.name, gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        try:
            self.look(kernel.Kernel(), gdb.string_to_argv(argument))
        except gdb.MemoryError as error:
            raise gdb.GdbError(f"{self.name}: {error}")


def needs_none(command, arguments):
    """Refuses arguments of a command that has none."""
    if arguments:
        raise gdb.GdbError(f"usage: {command.name}")


class Pt(Look):
    """cleave pt VA: the way from the root table to an address, every descriptor by name.

The tables are those of the selected CPU's TTBR0_EL1 or TTBR1_EL1, by the address' half; with the MMU off, the
image's own root. They are read by physical address: the walk works while the map is broken.
Example: cleave pt 0xffff000040000000"""

    name = "cleave pt"

    def look(self, state, arguments):
        if len(arguments) != 1:
            raise gdb.GdbError("usage: cleave pt VA")
        address = int(gdb.parse_and_eval(arguments[0])) & tables.MASK
        wanted = "TTBR1" if address >> 48 == 0xFFFF else "TTBR0"
        if address >> 48 not in (0, 0xFFFF):
            raise gdb.GdbError(f"{address:#x} is in neither half: bits 63:48 must be all alike")
        found = [root for root in state.roots() if root[0] == wanted]
        if not found:
            raise gdb.GdbError(f"no {wanted} table: the MMU is off")
        _, root, _, source = found[0]
        print(f"{address:#018x}: {state.place(address)}; root {root:#x} ({source})")
        level = descriptor = 0
        for level, index, at, descriptor in state.tables.path(root, address):
            print(f"  L{level} [{index:3}] {at:#x}: {descriptor:#018x}  {tables.decode(descriptor, level)}")
        if tables.kind(descriptor, level) == "leaf":
            offset = address & (1 << tables.SHIFTS[level]) - 1
            print(f"  -> {tables.output(descriptor, level) | offset:#x}")
        else:
            print("  not mapped")


class Map(Look):
    """cleave map [ttbr0|ttbr1]: everything mapped, folded to ranges.

One line a range: addresses, size, leaves, permissions, memory type, where it is mapped to, and what it belongs to.
`---` is a leaf made invalid; `W+X!` marks what is both writable and executable. Read by physical address.
Example: cleave map ttbr1"""

    name = "cleave map"

    def look(self, state, arguments):
        wanted = [word.upper() for word in arguments] or ["TTBR0", "TTBR1"]
        if len(wanted) > 2 or any(word not in ("TTBR0", "TTBR1") for word in wanted):
            raise gdb.GdbError("usage: cleave map [ttbr0|ttbr1]")
        warnings = 0
        for name, root, base, source in state.roots():
            if name not in wanted:
                continue
            print(f"{name}: root {root:#x} ({source})")
            runs = list(state.tables.runs(root, base))
            for run in runs:
                print(f"  {run}  {state.place(run.start)}")
                warnings += "W+X!" in str(run)
            if not runs:
                print("  nothing is mapped")
        if warnings:
            print(f"WARNING: {warnings} ranges are writable and executable")


class Cpus(Look):
    """cleave cpus: every CPU with its state, exception level, function, and whether it is parked in a rendezvous.

`off` is one that was never started, `booting` one without a per-CPU block yet.
Example: cleave cpus"""

    name = "cleave cpus"

    def look(self, state, arguments):
        needs_none(self, arguments)
        print("CPU  thread  state       EL  parked  function")
        for cpu in kernel.cpus(state):
            number = "-" if cpu.id is None else cpu.id
            parked = "parked" if cpu.is_parked() else "no"
            print(f"{number:>3}  {cpu.thread.num:>6}  {cpu.state():<10}  {cpu.level!s:>2}  {parked:<6}  {cpu.function()}")


class Rendezvous(Look):
    """cleave rendezvous: the phase, the generation, how many CPUs are in it, and which.

In Release the count is of those that have not left yet.
Example: cleave rendezvous"""

    name = "cleave rendezvous"

    def look(self, state, arguments):
        needs_none(self, arguments)
        generation, phase, missing = state.rendezvous()
        print(f"rendezvous {generation}: {phase}")
        if phase == "Release":
            print(f"  CPUs that have not left: {missing}")
        elif phase != "Idle":
            print(f"  CPUs that have not arrived: {missing}")
        for cpu in kernel.cpus(state):
            if cpu.block and cpu.state() == "online":
                there = "in" if cpu.is_parked() else "out"
                came = cpu.times()[0] == generation
                print(f"  CPU {cpu.id}: {there}{', has arrived in this one' if came else ''}")


CHANGES = ("", "read-only", "writable", "unmap", "map", "split", "collapse", "scope")
SIZES = ("512G", "1G", "2M", "4K")


class Change(Look):
    """cleave change: the change of the linear map that is under way, how far it is, and which CPU makes it.

A repaint is a split of everything. `cleave break change` stops where its tables are reserved and nothing has changed.
Example: cleave change"""

    name = "cleave change"

    def look(self, state, arguments):
        needs_none(self, arguments)
        found = state.change()
        if found is None:
            print("no change of the linear map is under way")
            return
        what = CHANGES[found["change"]] if found["change"] < len(CHANGES) else f"{found['change']}?"
        if what == "split":
            what = f"split to {SIZES[found['level'] & 3]}"
        bytes_ = tables.size_text(found["end"] - found["start"])
        more = f" and {found['ranges'] - 1} more ranges" if found["ranges"] > 1 else ""
        print(f"{what} of {found['start']:#x}..{found['end']:#x} ({bytes_}){more}, by CPU {found['cpu']}")
        if found["step"] == 0:
            print("  its tables are being counted")
            return
        print(f"  tables reserved: {found['tables']}")
        if found["attempts"]:
            generation, phase, missing = state.rendezvous()
            print(f"  with every CPU stopped: attempt {found['attempts']}, rendezvous {generation}: {phase}, {missing} missing")
        else:
            print("  no rendezvous yet: in place, or its new tables are being built")


class Timeline(Look):
    """cleave timeline: when each CPU came to the last rendezvous and left it, in counter ticks after the call.

The last column is the number of tables the CPU filled.
Example: cleave timeline"""

    name = "cleave timeline"

    def look(self, state, arguments):
        needs_none(self, arguments)
        rows = [(cpu.id, cpu.times()) for cpu in kernel.cpus(state) if cpu.block]
        kicked = max((times[1] for _, times in rows), default=0)
        if not kicked:
            print("no rendezvous has taken place yet")
            return
        print(f"called at {kicked}")
        print("CPU      arrived       masked     released  tables")
        for number, (_, _, arrived, masked, released, filled) in rows:
            def after(ticks):
                return f"+{ticks - kicked}" if ticks >= kicked else "-"
            print(f"{number:>3} {after(arrived):>12} {after(masked):>12} {after(released):>12} {filled:>7}")


class Frames(Look):
    """cleave frames: the regions of the frame allocator, and how much of each is free.

Example: cleave frames"""

    name = "cleave frames"

    def look(self, state, arguments):
        needs_none(self, arguments)
        regions = state.frames()
        if not regions:
            print("there is no frame allocator yet")
            return
        for start, count, free in regions:
            size = tables.size_text(count * tables.PAGE)
            print(f"  {start:#012x}..{start + count * tables.PAGE:#012x} {size:>9}  {free} of {count} frames free")
        total, free = sum(region[1] for region in regions), sum(region[2] for region in regions)
        print(f"  in all {free} of {total} frames free")


ALL = (Pt, Map, Cpus, Change, Rendezvous, Timeline, Frames)
