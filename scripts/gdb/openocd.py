# SPDX-License-Identifier: MIT OR Apache-2.0
"""The parser of OpenOCD's output about memory. It does not use gdb."""
from __future__ import annotations


def from_openocd(text):
    """Returns the bytes that OpenOCD's mdd prints: `0x00200000: 1400001091005a4d ...`, 64-bit words."""
    data = b""
    for line in text.splitlines():
        _, colon, words = line.partition(":")
        if colon:
            data += b"".join(int(word, 16).to_bytes(8, "little") for word in words.split())
    return data
