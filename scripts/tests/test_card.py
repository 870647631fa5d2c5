# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about the Raspberry Pi 4's SD card."""
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import support
import elf

CARD = os.path.join(support.SCRIPTS, "card")


class Card(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.dir = os.path.join(temporary.name, "rpi4")
        self.elf = os.path.join(temporary.name, "cleave")
        with open(self.elf, "wb") as file:
            file.write(support.elf([(0, 0x40200000, support.header(), 64)]))

    def card(self, **environment):
        done = subprocess.run([sys.executable, CARD, self.elf, self.dir], env={**os.environ, **environment},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout.decode()

    def text(self, name):
        with open(os.path.join(self.dir, name), encoding="utf-8") as file:
            return file.read()

    def test_it_has_all_of_ours_and_names_what_is_not(self):
        status, output = self.card(BOOTARGS="selftest fill=window", FIRMWARE="")
        self.assertEqual(status, 0, output)
        for name in ("kernel8.img", "config.txt", "cmdline.txt", "cleave.elf", "FIRMWARE.txt"):
            self.assertTrue(os.path.exists(os.path.join(self.dir, name)), name)
        self.assertEqual(self.text("cmdline.txt"), "selftest fill=window\n")
        # Without the mark the board would say nothing where its firmware gives no device tree.
        with open(os.path.join(self.dir, "kernel8.img"), "rb") as file:
            self.assertEqual(file.read()[32:36], b"RPI4")
        for name in ("start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb", "overlays/disable-bt.dtbo"):
            self.assertIn(name, self.text("FIRMWARE.txt"))
            self.assertIn(name, output)

    def test_every_line_of_config_has_a_comment(self):
        self.card(FIRMWARE="")
        lines = self.text("config.txt").splitlines()
        settings = {}
        for before, line in zip(lines, lines[1:]):
            if "=" in line and not line.startswith("# "):
                self.assertTrue(before.startswith("# "), f"no comment above {line}")
                key, value = line.split("=", 1)
                settings[key] = value
        for key, value in (("arm_64bit", "1"), ("enable_uart", "1"), ("dtoverlay", "disable-bt"),
                           ("kernel", "kernel8.img"), ("enable_gic", "1"), ("#armstub", "bl31.bin")):
            self.assertEqual(settings.get(key), value)

    def test_another_firmware_than_tf_a_is_refused(self):
        status, output = self.card(FIRMWARE="uefi")
        self.assertEqual(status, 1)
        self.assertIn("FIRMWARE=uefi", output)

    @unittest.skipUnless(shutil.which("mformat"), "no mtools")
    def test_the_image_is_a_whole_card(self):
        os.makedirs(os.path.join(self.dir, "firmware", "overlays"))
        with open(os.path.join(self.dir, "firmware", "overlays", "disable-bt.dtbo"), "wb") as file:
            file.write(b"overlay")
        status, output = self.card(FIRMWARE="")
        self.assertEqual(status, 0, output)
        path = os.path.join(self.dir, "card.img")
        with open(path, "rb") as file:
            record = file.read(512)
        self.assertEqual(record[510:], b"\x55\xaa")
        kind, start, sectors = struct.unpack_from("<4xB3xII", record, 446)
        self.assertEqual((kind, (start + sectors) * 512), (0x0C, os.path.getsize(path)))
        for name, content in (("kernel8.img", elf.with_board_mark(support.header(), elf.RASPBERRY_PI_4)), ("overlays/disable-bt.dtbo", b"overlay")):
            done = subprocess.run(["mtype", "-i", f"{path}@@{start * 512}", f"::{name}"], stdout=subprocess.PIPE)
            self.assertEqual(done.stdout, content, name)


if __name__ == "__main__":
    unittest.main()
