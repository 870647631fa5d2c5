# SPDX-License-Identifier: MIT OR Apache-2.0
"""Helpers of the script tests: paths, a smallest bootable image, programs made on the spot."""
from __future__ import annotations

import os
import struct
import sys

SCRIPTS = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(SCRIPTS, "lib"))


def header(text_offset: int = 0) -> bytes:
    """Returns an arm64 image header and nothing behind it."""
    return struct.pack("<IIQQQQQQ4sI", 0x14000010, 0, text_offset, 0x1000, 0xA, 0, 0, 0, b"ARM\x64", 0)


def elf(segments: list[tuple[int, int, bytes, int]]) -> bytes:
    """Returns an ELF of PT_LOAD segments: (virtual, physical, content, size in memory)."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    offset = 64 + 56 * len(segments)
    heads, bodies = b"", b""
    for virtual, physical, content, memsz in segments:
        heads += struct.pack("<IIQQQQQQ", 1, 7, offset + len(bodies), virtual, physical, len(content), memsz, 4096)
        bodies += content
    return ident + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0) + heads + bodies


def program(directory: str, name: str, body: str, shell: str = "/bin/sh") -> str:
    """Makes an executable script and returns its path."""
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!{shell}\n{body}\n")
    os.chmod(path, 0o755)
    return path
