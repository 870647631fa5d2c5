# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about the names of boot arguments: they are the kernel's, and a slip is told from them."""
import os
import re
import unittest

import support
import bootargs
import nearest

SOURCE = os.path.join(os.path.dirname(support.SCRIPTS), "src", "options", "argument.rs")


class Names(unittest.TestCase):
    # Fails when the kernel learns a boot argument that the runner would warn of, and when it forgets one.
    def test_they_are_those_that_the_kernel_reads(self):
        with open(SOURCE, encoding="utf-8") as file:
            reader = re.search(r"\nfn meaning\(.*?\n}\n", file.read(), re.S).group()
        plain = re.findall(r'^        "([\w.]+)"(?: if [^=]*)? => ', reader, re.M)
        of_cpus = [f"cpuN.{name}" for name in re.findall(r'Some\(\(\w+, "(\w+)"\)\) => ', reader)]
        self.assertGreater(len(plain), 5)
        self.assertEqual(set(bootargs.NAMES), {*plain, *of_cpus})

    def test_what_the_kernel_knows_is_not_warned_of(self):
        text = 'fill=window cpu12.bbm=0 "linear=page" load="off" fault=cpu1.late:80,wx selftest  rendezvous.deadline=50'
        self.assertEqual(bootargs.unknown(text), [])
        self.assertEqual(bootargs.unknown(""), [])

    def test_a_slip_is_named_with_what_was_meant(self):
        for text, expected in (("fil=window", "fil=window; fill=window?"), ("cpu.bbm=0", "cpu.bbm=0; cpuN.bbm=0?"),
                               ("FILL=ahead", "FILL=ahead; fill=ahead?"), ("quiet", "quiet"), ("selftset", "selftset; selftest?"),
                               ('x="a b"', 'x="a b"'), ("deadline=5", "deadline=5; rendezvous.deadline=5?")):
            self.assertEqual(bootargs.unknown(f"load=on {text} wx2=1")[0], expected)


class Nearest(unittest.TestCase):
    def test_names_of_other_projects_are_understood(self):
        known = ["CPU", "SMP", "MEM", "BOOTARGS", "GDB_PORT"]
        for word, meant in (("CPUS", "SMP"), ("smp", "SMP"), ("MEMORY", "MEM"), ("BOOTARG", "BOOTARGS"), ("PORT", "GDB_PORT"),
                            ("XYZZY", None)):
            self.assertEqual(nearest.nearest(word, known), meant, word)

    def test_what_is_not_known_here_is_not_offered(self):
        self.assertIsNone(nearest.nearest("CPUS", ["fill"]))


if __name__ == "__main__":
    unittest.main()
