# SPDX-License-Identifier: MIT OR Apache-2.0
"""The variables of a run: reading and checking each value."""
from __future__ import annotations

import os
import platform
import re
import shlex
import sys

PAGE = 4096
DEFAULT_TIMEOUT = 60
# QEMU itself needs this much beside the kernel, for the device tree.
MEM_MIN = 8 << 20


class OptionError(Exception):
    """A request that cannot be met; the text is the message."""


def check_accel(accel: str) -> None:
    """Hardware virtualisation needs a host of the guest's architecture, and its own system."""
    system = {"kvm": "linux", "hvf": "darwin"}.get(accel)
    if system is None:
        return
    host = platform.machine()
    if host not in ("aarch64", "arm64"):
        raise OptionError(f"ACCEL={accel} runs the kernel on the host's own CPU, which must be AArch64: this one is {host}")
    if sys.platform != system:
        raise OptionError(f"ACCEL={accel} is for {'Linux' if accel == 'kvm' else 'macOS'} only")


def check_report(path: str | None) -> None:
    """REPORT must be a file that can be written when the run ends."""
    if path is None:
        return
    if path == "-":
        raise OptionError("REPORT=-: must be a file, since standard output has the console")
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise OptionError(f"REPORT={path}: there is no directory {directory}")
    if os.path.isdir(path):
        raise OptionError(f"REPORT={path} is a directory: must be a file")
    if not os.access(path if os.path.exists(path) else directory, os.W_OK):
        raise OptionError(f"REPORT={path}: no permission to write it")


def words(name: str, text: str) -> list[str]:
    """Returns the words of a variable, quoted as in a shell."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise OptionError(f"{name}={text}: {error}") from None


def port(text: str) -> int:
    """Returns the port of a gdb server."""
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise OptionError(f"GDB_PORT={text}: must be 1 to 65535")
    return int(text)


def choice(name: str, text: str, allowed: tuple[str, ...]) -> str:
    """`text` if it is one of the allowed words."""
    if text not in allowed:
        raise OptionError(f"{name}={text}: must be {' or '.join(allowed)}")
    return text


def number(name: str, text: str) -> int:
    """Returns a decimal or 0x number."""
    try:
        return int(text, 0)
    except ValueError:
        raise OptionError(f"{name} {text}: not a number") from None


def seconds(text: str | None) -> float:
    """TIMEOUT: a run always has one."""
    try:
        found = float(text) if text else float(DEFAULT_TIMEOUT)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e9:
        raise OptionError(f"TIMEOUT={text}: not a number of seconds above 0")
    return found


def size(name: str, text: str) -> int:
    """Returns a size as QEMU's -m takes it: MiB unless a letter says otherwise."""
    found = re.fullmatch(r"(\d+)([KMGT]?)(i?B)?", text.strip(), re.I)
    if not found or int(found.group(1)) == 0:
        raise OptionError(f"{name}={text}: not a size (such as 512M, 1G, 1T)")
    return int(found.group(1)) << {"K": 10, "M": 20, "G": 30, "T": 40}[found.group(2).upper() or "M"]


def memory(text: str) -> int:
    """MEM, with what QEMU needs at least."""
    found = size("MEM", text)
    if found < MEM_MIN:
        raise OptionError(f"MEM={text}: must be {size_text(MEM_MIN)} or more")
    return found


def size_text(found: int) -> str:
    """Returns a size in the largest unit that says it exactly."""
    for shift, unit in ((40, "T"), (30, "G"), (20, "M"), (10, "K")):
        if found % (1 << shift) == 0:
            return f"{found >> shift}{unit}"
    return f"{found}B"


def cpu_count(text: str) -> int:
    """Returns the number of CPUs that start, from QEMU's -smp."""
    counts = {}
    for index, word in enumerate(text.split(",")):
        key, equals, number_text = word.partition("=")
        if not equals:
            key, number_text = ("cpus" if index == 0 else ""), word
        if not key or not number_text.isdigit():
            raise OptionError(f"SMP={text}: not a number of CPUs, nor QEMU's longer form")
        counts[key] = int(number_text)
    if "cpus" in counts:
        return counts["cpus"]
    if "maxcpus" in counts:
        return counts["maxcpus"]
    product = 1
    for count in counts.values():
        product *= count
    return product


def text_offset(offset: str | None, address: str | None, ram: int) -> int | None:
    """Returns the offset from the start of memory at `ram` at which the image asks to be loaded."""
    if offset is None and address is None:
        return None
    found = number("--text-offset", offset) if offset else number("--load-addr", address) - ram
    # QEMU puts its own first instructions into the first page.
    if found < PAGE or found % PAGE:
        raise OptionError(f"the image needs a page-aligned place above {ram + PAGE:#x}")
    return found
