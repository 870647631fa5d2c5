# SPDX-License-Identifier: MIT OR Apache-2.0
"""From an ELF file to the flat image a boot loader takes (the arm64 Linux image protocol).

Only what the kernel's own ELF needs: 64-bit, little endian, program headers.
Offsets cite the ELF-64 object file format and Linux's arm64 booting document.
"""
from __future__ import annotations

import hashlib
import os
import struct

PT_LOAD = 1
# The 64-byte image header: text_offset, image_size, and the magic that names it.
TEXT_OFFSET_AT = 8
IMAGE_SIZE_AT = 16
# The first reserved word: which board the image was made for, if for one in particular (boot/last_resort.S).
BOARD_MARK_AT = 32
RASPBERRY_PI_4 = b"RPI4"
MAGIC_AT = 56
MAGIC = b"ARM\x64"


class ImageError(Exception):
    """The file is not an image that can be booted; the text says why."""


def is_elf(data: bytes) -> bool:
    """Returns whether the bytes begin as an ELF file does."""
    return data[:4] == b"\x7fELF"


def flatten(data: bytes) -> bytes:
    """Returns the bytes in memory from the lowest loaded physical address on.

    What an ELF loader would clear at the end (.bss, stacks) is not part of it:
    the image clears it itself, and its header's image_size covers it.
    """
    if len(data) < 64 or data[4:6] != b"\x02\x01":
        raise ImageError("not a 64-bit little-endian ELF")
    (phoff,) = struct.unpack_from("<Q", data, 32)
    entry_size, entries = struct.unpack_from("<HH", data, 54)
    segments = []
    for index in range(entries):
        try:
            kind, _, offset, _, paddr, filesz, _, _ = struct.unpack_from(
                "<IIQQQQQQ", data, phoff + index * entry_size)
        except struct.error:
            raise ImageError("the ELF's program headers are cut short") from None
        if kind == PT_LOAD and filesz:
            if offset + filesz > len(data):
                raise ImageError("the ELF is cut short")
            segments.append((paddr, data[offset:offset + filesz]))
    if not segments:
        raise ImageError("the ELF loads nothing")
    base = min(paddr for paddr, _ in segments)
    size = max(paddr + len(content) for paddr, content in segments) - base
    # A linker script that scatters segments would make an image of gigabytes.
    if size > 1 << 28:
        raise ImageError(f"the flat image would have {size} bytes: check the physical addresses")
    flat = bytearray(size)
    for paddr, content in segments:
        flat[paddr - base:paddr - base + len(content)] = content
    return bytes(flat)


def check_header(image: bytes) -> None:
    """Refuses what QEMU would load as something else, without a device tree in x0."""
    if image[MAGIC_AT:MAGIC_AT + 4] != MAGIC:
        raise ImageError("no arm64 image header (magic missing at offset 56)")
    if struct.unpack_from("<Q", image, IMAGE_SIZE_AT) == (0,):
        raise ImageError("the image header's image_size is 0")


def with_text_offset(image: bytes, offset: int) -> bytes:
    """Returns the image with another load offset from the start of memory."""
    patched = bytearray(image)
    struct.pack_into("<Q", patched, TEXT_OFFSET_AT, offset)
    return bytes(patched)


def with_board_mark(image: bytes, mark: bytes) -> bytes:
    """Returns the image marked for one board, whose last-resort console may then rely on that board's addresses."""
    patched = bytearray(image)
    patched[BOARD_MARK_AT:BOARD_MARK_AT + 4] = mark
    return bytes(patched)


def load_image(path: str, text_offset: int | None) -> bytes:
    """Reads an ELF or a flat image and returns the flat image to boot."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from None
    image = flatten(data) if is_elf(data) else data
    check_header(image)
    return image if text_offset is None else with_text_offset(image, text_offset)


def store(image: bytes, directory: str, name: str) -> str:
    """Writes the image under a name made from its content, so that parallel runs never meet."""
    os.makedirs(directory, exist_ok=True)
    digest = hashlib.sha256(image).hexdigest()[:12]
    path = os.path.join(directory, f"{name}-{digest}.img")
    if not os.path.exists(path):
        part = f"{path}.{os.getpid()}"
        with open(part, "wb") as file:
            file.write(image)
        os.replace(part, path)
    return path
