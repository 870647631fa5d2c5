# SPDX-License-Identifier: MIT OR Apache-2.0
"""The options of a run, and the QEMU command line that follows from them.

Every make variable of a run is a flag here (`--smp 8`) and an environment
variable (`SMP=8`); the flag wins. What the board cannot have is an error before
QEMU starts.
"""
from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

import board
import tools
from values import (DEFAULT_TIMEOUT, OptionError, check_accel, check_report, choice, cpu_count, memory, port, seconds,
                    size, size_text, text_offset, words)

RAM_BASE = 0x4000_0000  # of QEMU's virt machine
VIRT_CPUS_MAX = 512
GICV2_CPUS_MAX = 8
# Above this many CPUs threads fight for the host: one thread and virtual time are faster.
THREADS_MAX = 32

VARIABLES = {
    "MACHINE": "virt or raspi4b (virt)",
    "CPU": "QEMU's -cpu, properties too (cortex-a72)",
    "SMP": "number of CPUs, or QEMU's longer form (4)",
    "MEM": "size of memory (1G)",
    "GIC": "2 or 3 (virt: 3, raspi4b: 2)",
    "EL": "exception level of entry, 1 or 2 (virt: 1, raspi4b: 2)",
    "FIRMWARE": "raspi4b: empty, or tfa",
    "DTB": "raspi4b: board, minimal, none, or a file (board)",
    "ACCEL": "tcg, kvm or hvf (tcg)",
    "BOOTARGS": "the kernel's command line",
    "ICOUNT": "1: repeatable, a counter tick per instruction; 0: never",
    "TIMEOUT": f"seconds ({DEFAULT_TIMEOUT})",
    "REPORT": "file that gets the JSON report",
    "QEMU": "another QEMU",
    "QEMU_ARGS": "further arguments to QEMU",
}


@dataclass
class Options:
    """A checked request."""

    image: str | None
    machine: str
    cpu: str
    smp: str
    cpus: int
    mem: int
    gic: int
    el: int
    firmware: str
    dtb: str
    accel: str
    icount: bool
    cntfrq: bool
    bootargs: str
    timeout: float | None
    report: str | None
    qemu: str
    qemu_args: list[str]
    text_offset: int | None
    gdb: int | None
    qmp: str | None
    stdin: bool
    monitor: bool
    dry_run: bool
    check: bool

    @property
    def semihosting(self) -> bool:
        """Semihosting does not exist under hardware virtualisation; TF-A is there to be asked for SYSTEM_OFF."""
        return self.accel == "tcg" and self.firmware != "tfa"

    def append(self) -> str:
        """Returns the bootargs with the words the runner adds."""
        words = [self.bootargs] if self.bootargs else []
        if self.monitor:
            words.append("monitor")
        if self.semihosting:
            words.append("exit=semihosting")
        if self.report:
            words.append("report=json")
        # The kernel cannot find out: no register says that the counter counts instructions.
        if self.icount or "-icount" in self.qemu_args:
            words.append("clock=counted")
        return " ".join(words)

    def command(self, image: str, tree: str | None = None, firmware: str | None = None) -> list[str]:
        """Returns the QEMU command line that boots this flat image; `tree` and `firmware` are raspi4b's files."""
        board = self.raspi4b(image, tree, firmware) if self.machine == "raspi4b" else self.virt(image)
        command = [self.qemu, *board[0]]
        if self.icount:
            command += ["-icount", "shift=0,sleep=off"]
        command += ["-nic", "none", "-display", "none", "-monitor", "none",
                    # With a keyboard Ctrl-C is the kernel's, and Ctrl-A X ends QEMU.
                    "-serial", "mon:stdio" if self.stdin else "stdio", "-no-reboot"]
        if self.semihosting:
            command += ["-semihosting-config", "enable=on,target=native"]
        if self.gdb is not None:
            command += ["-S", "-gdb", f"tcp:127.0.0.1:{self.gdb}"]
        if self.qmp:
            command += ["-qmp", f"unix:{self.qmp},server=on,wait=off"]
        return command + board[1] + self.qemu_args

    def raspi4b(self, image: str, tree: str | None, firmware: str | None) -> tuple[list[str], list[str]]:
        """Returns the machine, and what it loads. QEMU's board has four CPUs and 2 GiB; the tree may say less."""
        single = self.icount or firmware
        machine = ["-machine", "raspi4b", "-accel", "tcg,thread=single" if single else "tcg"]
        if self.cntfrq:
            machine += ["-cpu", "cortex-a72,cntfrq=1000000000"]
        machine += ["-m", "2G", "-smp", str(board.CPUS)]
        if not firmware:
            loads = ["-kernel", image]
            loads += ["-dtb", tree] if tree else []
            return machine, loads + (["-append", self.append()] if self.append() else [])
        # Without a -kernel the CPUs start at address 0 at EL3, as on the board. The board's GIC has the security
        # extensions, which QEMU's has only when asked.
        machine += ["-global", "arm_gic.has-security-extensions=on"]
        places = [(firmware, 0), (tree, board.TREE_AT), (image, board.kernel_at(self))]
        return machine, [word for file, address in places
                         for word in ("-device", f"loader,file={file},addr={address:#x},force-raw=on")]

    def virt(self, image: str) -> tuple[list[str], list[str]]:
        """Returns the machine, and what it loads."""
        machine = f"virt,gic-version={self.gic},memory-backend=ram"
        machine += ",virtualization=on" if self.el == 2 else ""
        # Shared memory stays in small pages: private memory becomes huge pages, and a
        # line touched in each block would then take all of the guest's size.
        memory = f"memory-backend-ram,id=ram,size={size_text(self.mem)},share=on"
        memory += ",reserve=off" if self.mem > host_memory() // 2 else ""
        accel = f"{self.accel},thread=single" if self.icount else self.accel
        cpu = self.cpu
        if self.cntfrq and "cntfrq=" not in cpu:
            cpu += ",cntfrq=1000000000"
        command = ["-machine", machine, "-object", memory, "-m", size_text(self.mem),
                   "-accel", accel, "-cpu", cpu, "-smp", self.smp]
        return command, ["-kernel", image] + (["-append", self.append()] if self.append() else [])


def host_memory() -> int:
    """Bytes of memory this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def parser() -> argparse.ArgumentParser:
    """Returns the command line of scripts/qemu."""
    made = argparse.ArgumentParser(
        prog="scripts/qemu", description="Boots a kernel image in QEMU and returns its verdict.",
        epilog="Exit status: 0 the kernel said pass, 1 it said fail, 2 no verdict (the last line"
               " says why), 3 panic. Every upper-case name is an environment variable as well.")
    made.add_argument("image", nargs="?", help="an ELF file or a flat image")
    for name, text in VARIABLES.items():
        made.add_argument("--" + name.lower().replace("_", "-"), metavar=name, help=text)
    place = made.add_mutually_exclusive_group()
    place.add_argument("--text-offset", metavar="N", help="load at this offset from the start of memory")
    place.add_argument("--load-addr", metavar="N", help="load at this address")
    made.add_argument("--gdb", metavar="PORT", help="halt at reset, gdb server on this port, no timeout")
    made.add_argument("--qmp", metavar="SOCKET", help="QEMU's monitor protocol on a unix socket")
    made.add_argument("--stdin", action="store_true", help="standard input goes to the kernel's console")
    made.add_argument("--monitor", action="store_true", help="into the monitor: --stdin, no timeout but a given one")
    made.add_argument("--dry-run", action="store_true", help="print the command, run nothing")
    made.add_argument("--check", action="store_true", help="look whether the request can be met, and end: needs no image")
    made.add_argument("--raw-args", nargs=argparse.REMAINDER, default=[], metavar="ARG",
                      help="everything after it goes to QEMU as it is")
    return made


def without_variables(environment) -> dict[str, str]:
    """Returns the environment without the variables of a run, for a program that gives flags. Another QEMU is let through."""
    return {name: value for name, value in environment.items() if name == "QEMU" or name not in VARIABLES}


def parse(arguments: list[str], environment: dict[str, str]) -> Options:
    """Checks a request. Raises OptionError."""
    given = parser().parse_args(arguments)
    if given.image is None and not given.check:
        raise OptionError("no image: name an ELF file or a flat image")

    def value(name: str) -> str | None:
        flag = getattr(given, name.lower())
        # An empty variable is one that was not set.
        return flag if flag is not None else environment.get(name) or None

    machine = choice("MACHINE", value("MACHINE") or "virt", ("virt", "raspi4b"))
    is_board = machine == "raspi4b"
    if is_board:
        check_raspi4b(value)
    for name in ("FIRMWARE", "DTB"):
        if value(name) and not is_board:
            raise OptionError(f"{name} is for MACHINE=raspi4b only")
    dtb = value("DTB") or "board"
    if dtb == "none" and value("FIRMWARE"):
        raise OptionError("DTB=none and FIRMWARE: BL31 edits the device tree, so there must be one")
    if dtb not in ("board", "minimal", "none") and not os.path.exists(dtb):
        raise OptionError(f"DTB={dtb}: must be board, minimal, none or a file")
    accel = choice("ACCEL", value("ACCEL") or "tcg", ("tcg", "kvm", "hvf"))
    cpu = value("CPU") or ("cortex-a72" if accel == "tcg" else "host")
    if (cpu.split(",")[0] == "host") != (accel != "tcg"):
        raise OptionError(f"ACCEL={accel} and CPU={cpu}: the host's CPU goes with kvm and hvf, and they with it")
    if cpu.split(",")[0] in ("help", "?"):
        raise OptionError(f"CPU={cpu}: for the list: qemu-system-aarch64 -machine virt -cpu help")
    smp = value("SMP") or "4"
    cpus = cpu_count(smp)
    gic = int(choice("GIC", value("GIC") or ("2" if is_board else "3"), ("2", "3")))
    if is_board and not 1 <= cpus <= board.CPUS:
        raise OptionError(f"SMP={smp}: raspi4b has 1 to {board.CPUS} CPUs")
    if not 1 <= cpus <= VIRT_CPUS_MAX:
        raise OptionError(f"SMP={smp}: virt has 1 to {VIRT_CPUS_MAX} CPUs")
    if gic == 2 and cpus > GICV2_CPUS_MAX:
        raise OptionError(f"GIC=2 has {GICV2_CPUS_MAX} CPUs at most, SMP={smp} asks for {cpus}")
    el = int(choice("EL", value("EL") or ("2" if is_board else "1"), ("1", "2")))
    icount = value("ICOUNT")
    if icount is not None:
        choice("ICOUNT", icount, ("0", "1"))
    if accel != "tcg" and (el == 2 or icount == "1"):
        raise OptionError(f"ACCEL={accel}: EL=2 and ICOUNT=1 need ACCEL=tcg")
    single = icount == "1" or (icount is None and accel == "tcg" and cpus > THREADS_MAX)
    qemu = value("QEMU") or tools.find_qemu()
    # Set-up, which comes after the check, may bring one.
    if not qemu and not given.check:
        raise OptionError(f"no qemu-system-aarch64 of version {tools.QEMU_MIN} or later: run scripts/setup")
    gdb = None if given.gdb is None else port(given.gdb)
    check_accel(accel)
    check_report(value("REPORT"))
    return Options(
        image=given.image, machine=machine, cpu=cpu, smp=smp, cpus=cpus,
        mem=memory(value("MEM") or "1G"), gic=gic, el=el,
        firmware=value("FIRMWARE") or "", dtb=dtb, accel=accel, icount=single,
        cntfrq=icount == "1", bootargs=value("BOOTARGS") or "",
        timeout=None if gdb is not None or (given.monitor and not value("TIMEOUT")) else seconds(value("TIMEOUT")),
        report=value("REPORT"), qemu=qemu or "",
        qemu_args=words("QEMU_ARGS", value("QEMU_ARGS") or "") + given.raw_args,
        text_offset=text_offset(given.text_offset, given.load_addr, 0 if is_board else RAM_BASE),
        gdb=gdb, qmp=given.qmp, stdin=given.stdin or given.monitor, monitor=given.monitor, dry_run=given.dry_run,
        check=given.check)


def check_raspi4b(value) -> None:
    """Refuses a request that the fixed hardware of the board cannot meet."""
    fixed = {"CPU": ("cortex-a72",), "GIC": ("2",), "EL": ("2",), "ACCEL": ("tcg",), "FIRMWARE": ("tfa",)}
    for name, allowed in fixed.items():
        asked = value(name)
        if asked is not None and asked not in allowed:
            raise OptionError(f"MACHINE=raspi4b has {name}={allowed[0]} only, not {asked}")
    asked = value("MEM")
    # Boards with 4 and 8 GiB exist; QEMU has none of them.
    if asked is not None and size("MEM", asked) not in (1 << 30, 2 << 30):
        raise OptionError(f"MACHINE=raspi4b has MEM=1G or MEM=2G in QEMU, not {asked}")
    asked = value("SMP")
    if asked is not None and not asked.isdigit():
        raise OptionError(f"MACHINE=raspi4b: SMP={asked}: a plain number of CPUs, 1 to {board.CPUS}")
