"""What the scripts need from the machine, and where it is found.

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


def find_qemu() -> str | None:
    """The QEMU to use: $QEMU as it is, else one in the path that is new enough."""
    if os.environ.get("QEMU"):
        return os.environ["QEMU"]
    path = shutil.which("qemu-system-aarch64")
    text = output([path, "--version"]) if path else None
    found = re.search(r"version (\d+)\.", text or "")
    return path if found and int(found.group(1)) >= QEMU_MIN else None


def find_gdb() -> str | None:
    """A gdb that knows AArch64: distributions name it differently."""
    for name in ("gdb-multiarch", "aarch64-none-elf-gdb", "aarch64-elf-gdb", "aarch64-linux-gnu-gdb"):
        if shutil.which(name):
            return shutil.which(name)
    gdb = shutil.which("gdb")
    if gdb and output([gdb, "-nx", "-batch", "-ex", "set architecture aarch64"]) is not None:
        return gdb
    return None


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
        """Whether core for the target is part of the toolchain."""
        libdir = (output(["rustc", "--print", "target-libdir", "--target", TARGET]) or "").strip()
        return bool(libdir) and has_core(libdir)

    def cache(self) -> str:
        """Where this compiler's source-built core lives; another compiler has another place."""
        return os.path.join(CACHE, "rust",
                            f"{self.release}-{self.commit[:12]}-{self.host}-{CORE_RECIPE}")


def has_core(libdir: str) -> bool:
    """Whether a library directory holds the three crates a no_std kernel links."""
    try:
        names = os.listdir(libdir)
    except OSError:
        return False
    return all(any(n.startswith(f"lib{crate}-") and n.endswith(".rlib") for n in names)
               for crate in ("core", "alloc", "compiler_builtins"))


def source_sysroot(rustc: Rustc) -> str | None:
    """The finished source-built sysroot, if there is one."""
    sysroot = os.path.join(rustc.cache(), "sysroot")
    libdir = os.path.join(sysroot, "lib", "rustlib", TARGET, "lib")
    return sysroot if has_core(libdir) else None


def core_from_source_wanted() -> bool:
    """Whether the caller insists on the source-built core."""
    return os.environ.get("CLEAVE_CORE") == "source"
