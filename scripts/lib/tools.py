# SPDX-License-Identifier: MIT OR Apache-2.0
"""The tools that the scripts need from the machine, and their places.

This module only looks; nothing here installs, downloads or writes.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
CACHE = os.path.join(ROOT, ".cache")
TARGET = "aarch64-unknown-none-softfloat"

# Part of the cache's name: to be raised when the way core is built changes.
CORE_RECIPE = 1

# raspi4b appeared in QEMU 9.
QEMU_MIN = 9


def tested_rust() -> str | None:
    """Returns the version of the compiler that is tested and measured: Cargo.toml names it."""
    try:
        with open(os.path.join(ROOT, "Cargo.toml"), encoding="utf-8") as file:
            found = re.search(r'^tested = "(.*)"$', file.read(), re.M)
    except OSError:
        return None
    return found.group(1) if found else None


def output(command: list[str]) -> str | None:
    """Standard output of a command, or None when it is missing or fails."""
    try:
        # The C locale, because what comes back is parsed. And looking must not make rustup
        # download what rust-toolchain.toml names.
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              stdin=subprocess.DEVNULL, cwd=ROOT,
                              env=dict(os.environ, LC_ALL="C", RUSTUP_AUTO_INSTALL="0"))
    except OSError:
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def qemu_version(path: str) -> str | None:
    """Returns the version a QEMU says it has; `None` when it cannot be started or says none."""
    found = re.search(r"QEMU emulator version (\d+(?:\.\d+)*)", output([path, "--version"]) or "")
    return found.group(1) if found else None


def new_enough(version: str) -> bool:
    """Returns whether a version is of a QEMU that has every machine."""
    return int(version.split(".")[0]) >= QEMU_MIN


def qemus() -> list[str]:
    """Returns every qemu-system-aarch64 in the path, in its order."""
    directories = dict.fromkeys(os.environ.get("PATH", os.defpath).split(os.pathsep))
    found = [shutil.which("qemu-system-aarch64", path=directory) for directory in directories if directory]
    return [path for path in found if path]


def find_qemu() -> str | None:
    """Returns the QEMU to use: $QEMU as it is, else the first in the path that is new enough."""
    if os.environ.get("QEMU"):
        return os.environ["QEMU"]
    return next((path for path in qemus() if new_enough(qemu_version(path) or "0")), None)


def qemu_problem(named: str) -> str | None:
    """Returns the problem of the QEMU that the user names. One that does not tell its version is accepted."""
    path = shutil.which(named)
    if not path:
        return f"QEMU={named}: no such program"
    version = qemu_version(path)
    if version and not new_enough(version):
        return f"QEMU={named} is version {version}: must be {QEMU_MIN} or later"
    return None


def find_gdb() -> str | None:
    """Returns a gdb that knows AArch64: distributions name it differently."""
    for name in ("gdb-multiarch", "aarch64-none-elf-gdb", "aarch64-elf-gdb", "aarch64-linux-gnu-gdb"):
        if shutil.which(name):
            return shutil.which(name)
    gdb = shutil.which("gdb")
    return gdb if gdb and knows_aarch64(gdb) else None


def knows_aarch64(gdb: str) -> bool:
    """Returns whether a gdb was built with the kernel's architecture."""
    return output([gdb, "-nx", "-batch", "-ex", "set architecture aarch64"]) is not None


def gdb_problem(named: str) -> str | None:
    """Returns the problem of the gdb that the user names."""
    path = shutil.which(named)
    if not path:
        return f"GDB={named}: no such program"
    if knows_aarch64(path):
        return None
    other = find_gdb()
    return f"GDB={named} does not know AArch64" + (f"; {other} does" if other else "")


class Rustc:
    """The compiler cargo will use here, as it describes itself."""

    def __init__(self) -> None:
        text = output(["rustc", "-vV"]) or ""
        self.release = self._field(text, "release")
        self.commit = self._field(text, "commit-hash")
        self.host = self._field(text, "host")

    @staticmethod
    def _field(text: str, name: str) -> str:
        found = re.search(rf"^{name}: (.*)$", text, re.M)
        return found.group(1) if found else ""

    def __bool__(self) -> bool:
        return bool(self.release)

    def has_target(self) -> bool:
        """Returns whether core for the target is part of the toolchain."""
        libdir = (output(["rustc", "--print", "target-libdir", "--target", TARGET]) or "").strip()
        return bool(libdir) and has_core(libdir)

    def cache(self) -> str:
        """Where this compiler's source-built core lives; another compiler has another place."""
        return os.path.join(CACHE, "rust",
                            f"{self.release}-{self.commit[:12]}-{self.host}-{CORE_RECIPE}")


def has_core(libdir: str) -> bool:
    """Returns whether a library directory holds the three crates a no_std kernel links."""
    try:
        names = os.listdir(libdir)
    except OSError:
        return False
    return all(any(n.startswith(f"lib{crate}-") and n.endswith(".rlib") for n in names)
               for crate in ("core", "alloc", "compiler_builtins"))


def source_sysroot(rustc: Rustc) -> str | None:
    """Returns the finished source-built sysroot, if there is one."""
    sysroot = os.path.join(rustc.cache(), "sysroot")
    libdir = os.path.join(sysroot, "lib", "rustlib", TARGET, "lib")
    return sysroot if has_core(libdir) else None


def core_from_source_wanted() -> bool:
    """Returns whether the caller insists on the source-built core."""
    return os.environ.get("CLEAVE_CORE") == "source"
