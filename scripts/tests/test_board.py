# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about the Raspberry Pi 4: its command lines, its trees, and BL31's words."""
import os
import shutil
import struct
import subprocess
import tempfile
import unittest

import support
import board
import options


def parse(*arguments, **environment):
    """Returns a request with a QEMU that is never looked for."""
    return options.parse(["kernel.img", *arguments], {"QEMU": "qemu", "MACHINE": "raspi4b", **environment})


class CommandLine(unittest.TestCase):
    def test_the_spin_table_board_is_qemus_own_loader(self):
        self.assertEqual(
            " ".join(parse().command("flat.img", "tree.dtb")),
            "qemu -machine raspi4b -accel tcg -m 2G -smp 4 -nic none -display none -monitor none -serial stdio"
            " -no-reboot -semihosting-config enable=on,target=native -kernel flat.img -dtb tree.dtb"
            " -append exit=semihosting")

    def test_bl31_starts_at_0_with_kernel_and_tree_beside_it(self):
        self.assertEqual(
            " ".join(parse("--text-offset", "0x80000", FIRMWARE="tfa").command("flat.img", "tree.dtb", "bl31.bin")),
            "qemu -machine raspi4b -accel tcg,thread=single -m 2G -smp 4"
            " -global arm_gic.has-security-extensions=on -nic none -display none -monitor none -serial stdio"
            " -no-reboot -device loader,file=bl31.bin,addr=0x0,force-raw=on"
            " -device loader,file=tree.dtb,addr=0x8000000,force-raw=on"
            " -device loader,file=flat.img,addr=0x80000,force-raw=on")

    def test_tf_a_ends_by_system_off_and_gets_no_semihosting(self):
        asked = parse(FIRMWARE="tfa", BOOTARGS="selftest")
        self.assertFalse(asked.semihosting)
        self.assertEqual(asked.append(), "selftest")

    def test_without_a_tree_there_is_no_dtb(self):
        self.assertNotIn("-dtb", parse(DTB="none").command("flat.img"))

    def test_load_addresses_count_from_0(self):
        self.assertEqual(parse("--load-addr", "0x80000").text_offset, 0x80000)
        self.assertEqual(board.kernel_at(parse("--load-addr", "0x80000")), 0x80000)
        self.assertEqual(board.kernel_at(parse()), 0x200000)

    def test_the_board_has_its_own_defaults(self):
        asked = parse()
        self.assertEqual((asked.cpus, asked.mem, asked.gic, asked.el), (4, 1 << 30, 2, 2))


class Firmware(unittest.TestCase):
    def test_bl31_finds_its_words(self):
        patched = board.stub(bytes(0x200), 0x8000000, 0x80000)
        self.assertEqual(struct.unpack_from("<4I", patched, 0xF0), (0, 0, 0x8000000, 0x80000))
        self.assertEqual(patched[:0xF0] + patched[0x100:], bytes(0x1F0))


@unittest.skipUnless(shutil.which("dtc"), "no dtc")
class Trees(unittest.TestCase):
    def tree(self, **environment):
        """Returns the minimal tree of a request, as source again."""
        with tempfile.TemporaryDirectory() as directory:
            path = board.tree(parse(DTB="minimal", **environment), directory)
            return subprocess.run(["dtc", "-q", "-I", "dtb", "-O", "dts", path], capture_output=True).stdout.decode()

    def test_fewer_cpus_are_left_out_from_the_end(self):
        for cpus in (1, 2, 3, 4):
            self.assertEqual(self.tree(SMP=str(cpus)).count("cpu-release-addr"), cpus)

    def test_the_second_gib_is_memory_of_another_name_since_qemu_drops_memory_nodes(self):
        self.assertNotIn("upper-memory", self.tree())
        self.assertIn("reg = <0x00 0x40000000 0x40000000>", self.tree(MEM="2G"))

    def test_behind_tf_a_the_tree_is_complete(self):
        found = self.tree(FIRMWARE="tfa", MEM="2G", BOOTARGS='say="a b" back\\slash')
        self.assertIn("reg = <0x00 0x00 0x3b400000 0x00 0x40000000 0x40000000>", found)
        self.assertIn(r'bootargs = "say=\"a b\" back\\slash"', found)

    def test_the_firmwares_page_is_reserved(self):
        self.assertRegex(self.tree(), r"/memreserve/\s+0x0+ 0x0*1000;")

    def test_a_tree_that_needs_no_change_stays_as_it_is(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "own.dtb")
            with open(path, "wb") as file:
                file.write(b"not looked at")
            self.assertEqual(board.tree(parse(DTB=path), directory), path)

    def test_a_tree_that_is_none_is_named(self):
        with self.assertRaisesRegex(board.BoardError, "dtc"), tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "own.dtb")
            with open(path, "wb") as file:
                file.write(b"no tree at all")
            board.tree(parse(DTB=path, SMP="1"), directory)


if __name__ == "__main__":
    unittest.main()
