# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about what is typed behind `make`: slips end it before anything is built."""
import os
import re
import subprocess
import tempfile
import unittest

import support
import options

ROOT = os.path.dirname(support.SCRIPTS)


def make(*arguments, **variables):
    """make in the project, outside of any other make; returns the status and what it printed."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", *options.VARIABLES, "GDB", "GDB_PORT")}
    done = subprocess.run(["make", "-C", ROOT, "--no-print-directory", *arguments], env={**environment, **variables},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode()


class Variables(unittest.TestCase):
    # Fails when a variable without a meaning is ignored, as make does by itself.
    def test_one_that_does_not_exist_ends_every_target_at_once(self):
        for target, given, meant in (("run", "CPUS=8", "SMP"), ("help", "smp=8", "SMP"), ("test", "BOOTARG=x=y z", "BOOTARGS")):
            status, output = make(target, given)
            name = given.partition("=")[0]
            self.assertEqual(status, 2)
            self.assertIn(f"{name}: no such variable; {meant}?", output.splitlines()[0])
        status, output = make("run", "XYZZY=1")
        self.assertEqual((status, output.count("\n")), (2, 1))
        self.assertIn("XYZZY: no such variable.", output)

    def test_values_are_not_taken_for_names(self):
        status, output = make("-n", "run", "BOOTARGS=a CPUS=8 b=c", "SMP=2", "CARGO_TARGET_DIR=x", "V=1")
        self.assertEqual(status, 0, output)

    def test_the_environment_is_not_judged_nor_a_make_above(self):
        self.assertEqual(make("-n", "run", CPUS="8")[0], 0)
        self.assertEqual(make("-n", "run", "CPUS=8", MAKELEVEL="1")[0], 0)

    # Fails when a variable is added in one place and forgotten in another.
    def test_help_the_makefile_and_the_runner_know_the_same(self):
        with open(os.path.join(ROOT, "Makefile"), encoding="utf-8") as file:
            makefile = file.read()
        run, other = (re.search(rf"^{name} *:= (.*)$", makefile, re.M).group(1).split() for name in ("RUN", "OTHER"))
        self.assertEqual(sorted(run), sorted(options.VARIABLES))
        with open(os.path.join(support.SCRIPTS, "help.txt"), encoding="utf-8") as file:
            help_text = file.read()
        rows = re.findall(r"^  ([A-Z_]{2,}) +\S", help_text, re.M)
        self.assertEqual(sorted(rows), sorted(set(run + other) - {"WRITE"}))
        self.assertIn("WRITE=1", help_text)

    # Fails when a target is promised that only says it is not there yet, or when help forgets one.
    def test_help_names_every_target_and_each_does_something(self):
        with open(os.path.join(ROOT, "Makefile"), encoding="utf-8") as file:
            makefile = file.read()
        with open(os.path.join(support.SCRIPTS, "help.txt"), encoding="utf-8") as file:
            rows = re.findall(r"^  ([a-z0-9]+) +\S", file.read(), re.M)
        targets = re.search(r"^\.PHONY: (.*)$", makefile, re.M).group(1).split()
        # Parts of other targets, and help itself.
        self.assertEqual(sorted(rows), sorted(set(targets) - {"help", "build", "checked"}))
        for target in rows:
            recipe = re.search(rf"^{target}:.*\n((?:\t.*\n?)+)", makefile, re.M)
            self.assertIsNotNone(recipe, target)
            self.assertNotRegex(recipe.group(1), r"\bexit\b")

    def test_help_fits_a_terminal(self):
        with open(os.path.join(support.SCRIPTS, "help.txt"), encoding="utf-8") as file:
            self.assertEqual([line for line in file.read().splitlines() if len(line) > 80], [])


class Values(unittest.TestCase):
    # Fails when a value is looked at after the build only: this shim of cargo leaves a mark.
    def test_one_that_cannot_be_ends_it_before_the_build(self):
        for target, value, word in (("run", "SMP=0", "1 to 512"), ("monitor", "QEMU=/no/such/qemu", "no such program"),
                                    ("debug", "GDB_PORT=99999", "1 to 65535"), ("debug", "GDB=false", "does not know AArch64")):
            with tempfile.TemporaryDirectory() as directory:
                mark = os.path.join(directory, "built")
                support.program(directory, "cargo", f"touch '{mark}'; exit 1")
                path = directory + os.pathsep + os.environ["PATH"]
                status, output = make(target, value, PATH=path)
                self.assertEqual(status, 2)
                self.assertIn(word, output.splitlines()[0])
                self.assertNotIn("Traceback", output)
                self.assertFalse(os.path.exists(mark), target)


if __name__ == "__main__":
    unittest.main()
