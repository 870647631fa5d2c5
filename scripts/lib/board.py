# SPDX-License-Identifier: MIT OR Apache-2.0
"""The Raspberry Pi 4 in QEMU: device trees, and TF-A's BL31 as the board's firmware would load it.

Two files are not ours: the real board's device tree, from Debian's kernel package for arm64, and TF-A's BL31 for the
board, from Debian's arm-trusted-firmware. scripts/setup puts them into the cache (`fetch`).
"""
from __future__ import annotations

import glob
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile

import apt
import tools

DIRECTORY = os.path.join(tools.CACHE, "rpi4")
STOCK_TREE = os.path.join(DIRECTORY, "bcm2711-rpi-4-b.dtb")
BL31 = os.path.join(DIRECTORY, "bl31.bin")
MINIMAL_SOURCE = os.path.join(tools.ROOT, "scripts", "rpi4", "minimal.dts")

CPUS = 4
GIB = 1 << 30
# Of the first GiB, what the VideoCore leaves with its default share (76 MiB with fixup4.dat).
FIRST_PIECE = 0x3B40_0000
SECOND_PIECE_AT = 0x4000_0000
# Where QEMU's -kernel puts an image whose header has text_offset 0, and the board's newer firmware any image.
KERNEL_AT = 0x20_0000
# Anywhere that neither BL31 nor the image reaches.
TREE_AT = 0x0800_0000
# Words in BL31's first page that the VideoCore's firmware fills in for its armstub: magic and version of the stub,
# device tree, kernel.
STUB_WORDS_AT = 0xF0


class BoardError(Exception):
    """A board that cannot be put together; the text says why."""


def missing() -> list[str]:
    """Returns the files of others that are not in the cache."""
    return [path for path in (STOCK_TREE, BL31) if not os.path.exists(path)]


def fetch() -> None:
    """Downloads the packages that are missing and keeps the one file of each."""
    if not missing():
        return
    if not apt.usable() or apt.os_release().get("ID") != "debian":
        raise BoardError("MACHINE=raspi4b needs two files from Debian's arm64 packages, and this is no Debian: put"
                         f" bcm2711-rpi-4-b.dtb (of linux-image-arm64) and bl31.bin (rpi4/bl31.bin of"
                         f" arm-trusted-firmware) into {DIRECTORY}")
    os.makedirs(DIRECTORY, exist_ok=True)
    with apt.Apt("arm64", architecture="arm64") as private:
        private.update([suite for suite in apt.base_suites() if suite[2] == "main"])
        if not os.path.exists(STOCK_TREE):
            # The unversioned package only depends on the kernel of the day.
            kernel = private.dependency("linux-image-arm64", "linux-image-")
            keep(private, kernel, "./usr/lib/linux-image-*/broadcom/bcm2711-rpi-4-b.dtb", STOCK_TREE)
        if not os.path.exists(BL31):
            keep(private, "arm-trusted-firmware", "./usr/lib/arm-trusted-firmware/rpi4/bl31.bin", BL31)


def keep(private: apt.Apt, package: str, pattern: str, path: str) -> None:
    """One file of a package, at `path`."""
    with tempfile.TemporaryDirectory(dir=DIRECTORY) as directory:
        private.unpack_files(package, pattern, directory)
        found = glob.glob(os.path.join(directory, pattern))
        if len(found) != 1:
            raise BoardError(f"{package} has {len(found)} files {pattern[1:]}")
        os.replace(found[0], path)


def edits(cpus: int, mem: int, bootargs: str | None, no_fixups: bool) -> str:
    """Device tree source to be appended to a tree.

    `no_fixups`: no later program fills in memory and bootargs, as QEMU does for its -dtb.
    """
    text = ""
    for number in range(cpus, CPUS):
        text += f"/ {{ cpus {{ /delete-node/ cpu@{number}; }}; }};\n"
    second = f"<0 {SECOND_PIECE_AT:#x} {mem - GIB:#x}>" if mem > GIB else ""
    if no_fixups:
        reg = f"<0 0 {FIRST_PIECE:#x}>" + (f", {second}" if second else "")
        text += f"/ {{ memory@0 {{ reg = {reg}; }}; }};\n"
        text += f"/ {{ chosen {{ bootargs = {quoted(bootargs or '')}; }}; }};\n"
    elif second:
        # QEMU gives the first GiB only, and takes away what is called memory.
        text += f'/ {{ upper-memory@{SECOND_PIECE_AT:x} {{ device_type = "memory"; reg = {second}; }}; }};\n'
    return text


def quoted(text: str) -> str:
    """Returns a string of device tree source."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def tree(options, directory: str) -> str | None:
    """Returns the device tree of a run; None for none at all."""
    if options.dtb == "none":
        return None
    no_fixups = options.firmware == "tfa"
    appended = edits(options.cpus, options.mem, options.append(), no_fixups)
    source = {"board": STOCK_TREE, "minimal": MINIMAL_SOURCE}.get(options.dtb, options.dtb)
    if not os.path.exists(source):
        raise BoardError(f"no device tree {source}" + (": run scripts/setup" if source == STOCK_TREE else ""))
    is_source = source.endswith(".dts")
    if not is_source and not appended:
        return source
    text = read(source).decode() if is_source else dtc("dtb", "dts", read(source)).decode()
    return store(dtc("dts", "dtb", (text + appended).encode()), directory, "tree", "dtb")


def firmware(options, tree_at: int, directory: str) -> str:
    """BL31 with the words that the VideoCore's firmware would have written."""
    if not os.path.exists(BL31):
        raise BoardError(f"no {BL31}: run scripts/setup")
    return store(stub(read(BL31), tree_at, kernel_at(options)), directory, "bl31", "bin")


def stub(bl31: bytes, tree_at: int, kernel_address: int) -> bytes:
    """BL31 with the addresses of device tree and kernel filled in."""
    patched = bytearray(bl31)
    struct.pack_into("<4I", patched, STUB_WORDS_AT, 0, 0, tree_at, kernel_address)
    return bytes(patched)


def kernel_at(options) -> int:
    """Returns the load address of the image."""
    return KERNEL_AT if options.text_offset is None else options.text_offset


def dtc(source: str, target: str, data: bytes) -> bytes:
    """Returns the device tree compiler."""
    path = shutil.which("dtc")
    if not path:
        raise BoardError("no dtc, the device tree compiler: run scripts/setup")
    done = subprocess.run([path, "-q", "-I", source, "-O", target, "-"], input=data, capture_output=True)
    if done.returncode:
        raise BoardError("dtc: " + done.stderr.decode("utf-8", "replace").strip())
    return done.stdout


def read(path: str) -> bytes:
    """Returns a file whole."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise BoardError(f"cannot read {path}: {error.strerror}") from None


def store(data: bytes, directory: str, name: str, extension: str) -> str:
    """Writes a file under a name made from its content, so that parallel runs never meet."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.{extension}")
    if not os.path.exists(path):
        part = f"{path}.{os.getpid()}"
        with open(part, "wb") as file:
            file.write(data)
        os.replace(part, path)
    return path
