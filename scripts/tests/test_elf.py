# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about the way from an ELF file to a bootable flat image."""
import os
import tempfile
import unittest

import support
import elf


class Flatten(unittest.TestCase):
    HIGH = 0xFFFF_8000_8000_0000

    def test_segments_are_placed_by_physical_address(self):
        data = support.elf([(self.HIGH, 0x1000, b"text", 4), (self.HIGH + 0x2000, 0x1010, b"data", 0x100)])
        self.assertEqual(elf.flatten(data), b"text" + bytes(12) + b"data")

    def test_order_of_segments_does_not_matter(self):
        data = support.elf([(0, 0x20, b"b", 1), (0, 0x10, b"a", 1)])
        self.assertEqual(elf.flatten(data), b"a" + bytes(15) + b"b")

    def test_a_segment_without_content_adds_nothing(self):
        data = support.elf([(0, 0x10, b"a", 1), (0, 0x8000, b"", 0x4000)])
        self.assertEqual(elf.flatten(data), b"a")

    def test_a_scattered_image_is_refused(self):
        with self.assertRaisesRegex(elf.ImageError, "physical addresses"):
            elf.flatten(support.elf([(0, 0, b"a", 1), (0, 1 << 40, b"b", 1)]))

    def test_every_truncation_is_refused_with_a_message(self):
        data = support.elf([(0, 0x10, b"abcd", 4)])
        for length in range(4, len(data)):
            with self.assertRaises(elf.ImageError):
                elf.flatten(data[:length])

    def test_an_elf_without_segments_is_refused(self):
        with self.assertRaisesRegex(elf.ImageError, "loads nothing"):
            elf.flatten(support.elf([]))


class Header(unittest.TestCase):
    def test_a_valid_header_passes(self):
        elf.check_header(support.header())

    def test_a_missing_magic_is_refused(self):
        with self.assertRaisesRegex(elf.ImageError, "magic"):
            elf.check_header(bytes(64))

    def test_an_image_size_of_zero_is_refused(self):
        image = bytearray(support.header())
        image[16:24] = bytes(8)
        with self.assertRaisesRegex(elf.ImageError, "image_size"):
            elf.check_header(bytes(image))

    def test_the_text_offset_changes_and_nothing_else(self):
        self.assertEqual(elf.with_text_offset(support.header(0), 0x83000), support.header(0x83000))

    def test_the_board_mark_changes_and_nothing_else(self):
        marked = elf.with_board_mark(support.header(), elf.RASPBERRY_PI_4)
        self.assertEqual(marked[32:36], b"RPI4")
        self.assertEqual(marked[:32] + bytes(4) + marked[36:], support.header())


class Store(unittest.TestCase):
    def test_equal_content_has_one_name_and_different_content_two(self):
        with tempfile.TemporaryDirectory() as directory:
            one = elf.store(b"one", directory, "k")
            self.assertEqual(one, elf.store(b"one", directory, "k"))
            self.assertNotEqual(one, elf.store(b"two", directory, "k"))
            self.assertEqual(len(os.listdir(directory)), 2)
            with open(one, "rb") as file:
                self.assertEqual(file.read(), b"one")

    def test_a_missing_file_is_a_named_error(self):
        with self.assertRaisesRegex(elf.ImageError, "cannot read"):
            elf.load_image("/nonexistent/image", None)


if __name__ == "__main__":
    unittest.main()
