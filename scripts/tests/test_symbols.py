# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about names in backtraces."""
import os
import re
import struct
import tempfile
import unittest

import support
import run
import symbols


def elf_with(names):
    """Returns an ELF whose symbol table has these: name -> (address, size)."""
    strings, table = b"\0", bytes(24)
    for name, (value, size) in names.items():
        table += struct.pack("<IBBHQQ", len(strings), 2, 0, 1, value, size)
        strings += name.encode() + b"\0"
    at = 64 + len(table)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0, 0, at + len(strings), 0,
                                                          64, 0, 0, 64, 2, 0)
    sections = struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, 64, len(table), 1, 0, 8, 24)
    sections += struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, at, len(strings), 0, 0, 1, 0)
    return head + table + strings + sections


class Backtraces(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "cleave.elf")
        names = {"_ZN6cleave6kernel4fail17h0123456789abcdefE": (0xFFFF_8000_8000_1000, 0x100), "_start": (0x1000, 8),
                 "_RNvNtCs15F8oKFRPP5_4core6option13expect_failed": (0xFFFF_8000_8000_1100, 0x40),
                 "cleave_irq": (0xFFFF_8000_8000_1140, 0x40)}
        with open(self.path, "wb") as file:
            file.write(elf_with(names))

    def test_an_address_of_a_backtrace_gets_its_function(self):
        for image in (self.path, os.path.join(os.path.dirname(self.path), "kernel8.img")):
            found = symbols.Backtraces(image).annotate(b"  #0  0xffff800080001010\r\n")
            self.assertEqual(found, b"  #0  0xffff800080001010  cleave::kernel::fail+0x10\r\n")

    def name(self, *lines):
        """What is put behind the last of these lines."""
        backtraces = symbols.Backtraces(self.path)
        return [backtraces.annotate(line.encode() + b"\n") for line in lines][-1].decode().strip().split("  ")[-1]

    # Fails when the return address itself is looked up: behind a call that does not return stands the next function.
    def test_a_return_address_names_the_function_of_the_call(self):
        for kind in ("#0  ", "#12 ", "lr  "):
            self.assertEqual(self.name(f"  {kind}0xffff800080001100"), "cleave::kernel::fail+0x100", kind)
            self.assertEqual(self.name(f"  {kind}0xffff800080001104"), "core::option::expect_failed+0x4", kind)

    # Fails when a program counter is taken for a return address: its first instruction is a function's own.
    def test_a_program_counter_is_exact(self):
        self.assertEqual(self.name("  at  0xffff800080001100"), "core::option::expect_failed+0x0")
        self.assertEqual(self.name("  CPU 1: stopped at\r", "  #0  0xffff800080001100"), "core::option::expect_failed+0x0")
        self.assertEqual(self.name("  CPU 1: parked in the rendezvous", "  #0  0xffff800080001100"),
                         "cleave::kernel::fail+0x100")
        # The frame above the assembly that takes an exception is where the exception was taken.
        self.assertEqual(self.name("  #3  0xffff800080001150", "  #4  0xffff800080001100"),
                         "core::option::expect_failed+0x0")

    def test_the_entries_of_exceptions_are_those_of_the_vectors(self):
        with open(os.path.join(os.path.dirname(support.SCRIPTS), "boot", "vectors.S"), encoding="utf-8") as file:
            blocks = re.findall(r"^(\w+):\n(.*?)\.size \1", file.read(), re.M | re.S)
        linked = [name for name, block in blocks if "LINK_FRAME" in block]
        self.assertEqual(sorted(linked), sorted(symbols.EXCEPTION_ENTRIES))

    def test_other_lines_and_unknown_addresses_stay_as_they_are(self):
        backtraces = symbols.Backtraces(self.path)
        for line in (b"  x0   0xffff800080001010\n", b"  #0  0xffff800090001010\n", b"cleave: PASS\n", b"\xff\xfe\n"):
            self.assertEqual(backtraces.annotate(line), line)

    def test_without_symbols_the_addresses_stay(self):
        line = b"  #0  0xffff800080001010\n"
        self.assertEqual(symbols.Backtraces(os.path.join(self.path, "no.img")).annotate(line), line)

    def test_the_console_shows_the_name_even_of_a_line_that_comes_in_pieces(self):
        line = b"  #1  0xffff800080001020\r\n"
        for cut in range(1, len(line)):
            shown = []
            console = run.Console(shown.append, symbols.Backtraces(self.path).annotate)
            for piece in (line[:cut], line[cut:], b"cleave: PASS\n"):
                console.feed(piece)
            self.assertEqual(b"".join(shown),
                             b"  #1  0xffff800080001020  cleave::kernel::fail+0x20\r\ncleave: PASS\n", cut)
            self.assertEqual(console.verdicts, [run.PASS_LINE])

    def test_a_carriage_return_at_the_very_end_is_shown(self):
        shown = []
        console = run.Console(shown.append)
        console.feed(b"half a line\r")
        console.end_line()
        self.assertEqual(b"".join(shown), b"half a line\r")

if __name__ == "__main__":
    unittest.main()
