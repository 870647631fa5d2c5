# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about what gdb's commands say of tables and addresses, without a gdb: the words are the kernel's own."""
import os
import re
import struct
import sys
import unittest

import support

sys.path.insert(0, os.path.join(support.SCRIPTS, "gdb"))
import image
import openocd
import places
import tables

ROOT, TABLE1, TABLE2, TABLE3 = 0x10000, 0x20000, 0x30000, 0x40000
BASE = places.LINEAR_BASE
# AF, inner shareable, UXN, PXN, Normal: what the linear map's leaves have.
LEAF = 1 << 54 | 1 << 53 | 1 << 10 | 3 << 8
BLOCK, PAGE, READ_ONLY, CONTIGUOUS = LEAF | 1, LEAF | 3, 1 << 7, 1 << 52
SOURCES = image.ROOT


class Memory:
    """Tables made by hand."""

    def __init__(self):
        self.words = {}
        self.store(ROOT, 0, TABLE1 | 3)
        self.store(TABLE1, 1, 0x4000_0000 | BLOCK)
        self.store(TABLE1, 2, TABLE2 | 3)
        self.store(TABLE2, 0, TABLE3 | 3)

    def store(self, table, index, value):
        self.words[table + 8 * index] = value

    def read(self, address, size):
        return struct.pack(f"<{size // 8}Q", *(self.words.get(at, 0) for at in range(address, address + size, 8)))

    def lines(self):
        return [str(run) for run in tables.Tables(self.read).runs(ROOT, BASE)]


class Dump(unittest.TestCase):
    def test_it_says_what_the_kernels_own_dump_says(self):
        memory = Memory()
        for index in range(3):
            memory.store(TABLE3, index, 0x8000_0000 + 0x1000 * index | PAGE)
        memory.store(TABLE3, 3, 0x8000_3000 | PAGE | READ_ONLY)
        memory.store(TABLE3, 4, 0x9000_0000 | PAGE | READ_ONLY)
        memory.store(TABLE3, 6, 0x8000_6000 | PAGE)
        memory.store(TABLE3, 7, 0x8000_7000 | PAGE & ~1)
        with open(os.path.join(SOURCES, "crates", "cleave", "src", "tables", "dump", "tests.rs"), encoding="utf-8") as file:
            expected = re.findall(r'"(0xffff0000[0-9a-f]{8}\.\..*)",', file.read())
        self.assertEqual(len(expected), 6)
        self.assertEqual(memory.lines(), expected)

    def test_a_path_is_decoded_in_the_kernels_words(self):
        memory = Memory()
        memory.store(TABLE3, 5, 0x8000_5000 | PAGE)
        read = tables.Tables(memory.read)
        with open(os.path.join(SOURCES, "crates", "cleave", "src", "tables", "dump", "tests.rs"), encoding="utf-8") as file:
            expected = re.findall(r'"(L\d \[\d+\] .*?)"', file.read())
        way = [f"L{level} [{index}] {at:#x}: {tables.decode(descriptor, level)}"
               for level, index, at, descriptor in read.path(ROOT, 0xFFFF_0000_8000_5123)]
        self.assertEqual(way, expected[:4])
        self.assertEqual(read.translate(ROOT, 0xFFFF_0000_8000_5123), 0x8000_5123)
        self.assertIsNone(read.translate(ROOT, 0xFFFF_0000_8000_6000))

    def test_writable_and_executable_is_marked_unless_a_table_forbids_it(self):
        memory = Memory()
        memory.store(TABLE3, 0, 0x8000_0000 | PAGE & ~(1 << 53))
        self.assertTrue(memory.lines()[1].endswith("W+X!"))
        memory.store(TABLE2, 0, TABLE3 | 3 | 1 << 59)
        self.assertIn(" rw- ", memory.lines()[1])
        memory.store(TABLE2, 0, TABLE3 | 3 | 1 << 62)
        self.assertIn(" r-x ", memory.lines()[1])

    def test_groups_and_sizes_do_not_fold_into_each_other(self):
        memory = Memory()
        for index in range(16):
            memory.store(TABLE3, index, 0x8000_0000 + 0x1000 * index | PAGE | CONTIGUOUS)
        memory.store(TABLE3, 16, 0x8001_0000 | PAGE)
        self.assertIn("16xcont4K ", memory.lines()[1])
        self.assertIn(" 1x4K ", memory.lines()[2])

    def test_every_field_of_a_leaf_and_a_table_has_a_name(self):
        leaf = tables.decode(0x8000_0000 | 1 << 54 | 1 << 52 | 1 << 11 | 2 << 8 | 1 << 7 | 1 << 6 | 1 << 2 | 1, 2)
        self.assertEqual(leaf, "block 2M -> 0x80000000 device ro UXN EL0 nG outer contiguous")
        table = tables.decode(0xF800_0000_0000_1003, 1)
        self.assertEqual(table, "table 0x1000 NSTable APTable[1] APTable[0] UXNTable PXNTable")


class Places(unittest.TestCase):
    def symbol(self, name):
        return {"cleave_text_start": places.IMAGE_BASE, "cleave_text_end": places.IMAGE_BASE + 0x1000,
                "cleave_ro_after_init_start": places.IMAGE_BASE + 0x2000,
                "cleave_ro_after_init_end": places.IMAGE_BASE + 0x3000}.get(name)

    def test_the_layout_is_the_kernels(self):
        with open(os.path.join(SOURCES, "src", "mm", "layout.rs"), encoding="utf-8") as file:
            text = file.read()
        for name in ("LINEAR_BASE", "IMAGE_BASE", "KERNEL_AREA", "DEVICE_AREA", "TEMPORARY_AREA", "HEAP_AREA"):
            found = re.search(rf"const {name}: u64 = (0x[0-9a-f_]+);", text)
            self.assertEqual(int(found.group(1), 16), getattr(places, name), name)
        for (name, pages), constant in zip(places.PARTS, ("THREAD", "EXCEPTION", "EMERGENCY", "BLOCK")):
            self.assertIn(f"const {constant}_PAGES: u64 = {pages};", text, name)
        self.assertIn("SLOT_STRIDE: u64 = 32 * PAGE", text)
        self.assertIn("AREA_BYTES: u64 = 1 << 32", text)
        self.assertIn("LINEAR_BYTES: u64 = 1 << 47", text)

    def test_addresses_are_called_what_they_are(self):
        slot = places.KERNEL_AREA + 3 * places.SLOT_STRIDE
        for address, name in (
                (slot + 0x800, "guard page of the thread stack of CPU 3"),
                (slot + 0x1000, "the thread stack of CPU 3"),
                (slot + 17 * 0x1000, "guard page of the exception stack of CPU 3"),
                (places.HEAP_AREA, "the heap"),
                (places.IMAGE_BASE, "the kernel image (Text)"),
                (BASE + 0x4020_1000, "the kernel alias in the linear map"),
                (places.IMAGE_BASE + 0x2000, "the kernel image (read-only after init)"),
                (BASE + 0x4020_2000, "the kernel alias in the linear map (read-only after init)"),
                (BASE + 0x4020_3000, "the linear map"),
                (0x10, "a null pointer")):
            self.assertEqual(places.place(address, self.symbol, 0x4020_0000), name)


class OpenOcd(unittest.TestCase):
    def test_the_words_of_mdd_become_bytes(self):
        text = "0x00200000: 1400001091005a4d 0000000000000000 \n0x00200010: 0000000000000001 \n"
        self.assertEqual(openocd.from_openocd(text)[:8], bytes([0x4D, 0x5A, 0, 0x91, 0x10, 0, 0, 0x14]))
        self.assertEqual(len(openocd.from_openocd(text)), 24)
        self.assertEqual(openocd.from_openocd(text)[16], 1)


class BootSources(unittest.TestCase):
    def test_a_label_of_the_boot_assembly_is_found_in_its_source(self):
        name, line, text = image.boot_line("_start")
        self.assertEqual((name, text.split()[:2]), ("boot/head.S", ["b", "cleave_primary"]))
        with open(os.path.join(image.ROOT, name), encoding="utf-8") as file:
            self.assertEqual(file.read().splitlines()[line - 1].strip(), text)
        self.assertIsNone(image.boot_line("no_such_label"))


if __name__ == "__main__":
    unittest.main()
