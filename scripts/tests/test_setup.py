"""Claims about scripts/setup on machines that are ready, and on machines that cannot be made so.

The machine is made of a few programs in a directory that is the whole PATH.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import support
import apt
import core_source

SETUP = os.path.join(support.SCRIPTS, "setup")
CALLED = "called"


class Machine:
    """A PATH with just these programs, and a copy of the scripts with a cache of its own."""

    def __init__(self, test):
        directory = tempfile.TemporaryDirectory()
        test.addCleanup(directory.cleanup)
        self.dir = directory.name
        self.bin = os.path.join(self.dir, "bin")
        self.root = os.path.join(self.dir, "project")
        os.mkdir(self.bin)
        shutil.copytree(support.SCRIPTS, os.path.join(self.root, "scripts"),
                        ignore=shutil.ignore_patterns("__pycache__", "tests"))
        self.has("rustc", self.rustc(True))

    def has(self, name, body="exit 0"):
        # A full path to the shell: PATH has none.
        support.program(self.bin, name, body)

    def rustc(self, with_target):
        libdir = os.path.join(self.dir, "libdir")
        os.makedirs(libdir, exist_ok=True)
        for crate in ("core", "alloc", "compiler_builtins") if with_target else ():
            with open(os.path.join(libdir, f"lib{crate}-0.rlib"), "w", encoding="utf-8"):
                pass
        return ('if [ "$1" = -vV ]; then printf "release: 1.0.0\\ncommit-hash: 0123456789abcdef\\nhost: here\\n"; '
                f"else echo {libdir}; fi")

    def ready(self, qemu="10.0.2"):
        self.has("cc")
        self.has("qemu-system-aarch64", f"echo 'QEMU emulator version {qemu} (Debian)'")
        self.has("gdb-multiarch")
        self.has("dtc")
        cache = os.path.join(self.root, ".cache", "rpi4")
        os.makedirs(cache, exist_ok=True)
        for name in ("bcm2711-rpi-4-b.dtb", "bl31.bin"):
            with open(os.path.join(cache, name), "w", encoding="utf-8"):
                pass

    def forbids(self, *names):
        """Programs that must not be called: they leave a mark and fail."""
        for name in names:
            self.has(name, f"echo {name} \"$@\" >> {self.dir}/{CALLED}; exit 1")

    def called(self):
        try:
            with open(os.path.join(self.dir, CALLED), encoding="utf-8") as file:
                return file.read()
        except OSError:
            return ""

    def setup(self, level="all", **variables):
        environment = {"PATH": self.bin, **variables}
        done = subprocess.run([sys.executable, os.path.join(self.root, "scripts", "setup"), level],
                              env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout.decode()


class Ready(unittest.TestCase):
    def test_a_ready_machine_is_left_alone_in_silence(self):
        machine = Machine(self)
        machine.ready()
        machine.forbids("apt-get", "apt-cache", "rustup", "cargo", "sudo", "dpkg-deb")
        for _ in range(2):
            self.assertEqual(machine.setup(), (0, ""))
        self.assertEqual(machine.called(), "")

    def test_this_machine_is_ready_and_a_second_run_is_silent(self):
        # What is not shimmed is the machine's own: `make test` has run setup before.
        machine = Machine(self)
        for name in ("rustc", "cc", "dtc"):
            if os.path.exists(os.path.join(machine.bin, name)):
                os.remove(os.path.join(machine.bin, name))
        machine.forbids("apt-get", "apt-cache", "rustup", "cargo", "sudo", "dpkg-deb")
        path = machine.bin + os.pathsep + os.environ["PATH"]
        done = subprocess.run([SETUP], env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        self.assertEqual(machine.called(), "")

    def test_a_level_asks_for_no_more_than_it_needs(self):
        machine = Machine(self)
        machine.has("cc")
        self.assertEqual(machine.setup("build"), (0, ""))
        machine.has("qemu-system-aarch64", "echo 'QEMU emulator version 9.2.0'")
        self.assertEqual(machine.setup("run"), (0, ""))
        self.assertNotEqual(machine.setup("debug")[0], 0)
        self.assertNotEqual(machine.setup("rpi4")[0], 0)
        machine.has("gdb-multiarch")
        self.assertEqual(machine.setup("debug"), (0, ""))


class Board(unittest.TestCase):
    """The two files of the Raspberry Pi 4, on a machine that cannot get them."""

    def machine(self):
        machine = Machine(self)
        machine.ready()
        shutil.rmtree(os.path.join(machine.root, ".cache", "rpi4"))
        return machine

    def test_they_are_named_and_what_does_not_need_them_goes_on(self):
        status, output = self.machine().setup("all")
        self.assertEqual(status, 0)
        for word in ("bcm2711-rpi-4-b.dtb", "bl31.bin", "linux-image-arm64", "arm-trusted-firmware"):
            self.assertIn(word, output)

    def test_what_needs_them_stops(self):
        status, output = self.machine().setup("rpi4")
        self.assertEqual(status, 1)
        self.assertIn("bl31.bin", output)
        self.assertNotIn("Traceback", output)

    def test_what_does_not_need_them_does_not_ask(self):
        for level in ("build", "run", "debug"):
            self.assertEqual(self.machine().setup(level), (0, ""))


class CannotInstall(unittest.TestCase):
    SYSTEMS = ("Debian, Ubuntu:", "Fedora:", "Arch:", "macOS (brew):")

    def refused(self, machine, *words):
        status, output = machine.setup()
        self.assertEqual(status, 1)
        for word in (*self.SYSTEMS, *words):
            self.assertIn(word, output)
        self.assertNotIn("Traceback", output)

    def test_without_apt_one_message_names_the_packages(self):
        machine = Machine(self)
        machine.has("cc")
        machine.has("id", "echo 0")
        self.refused(machine, "qemu-system-arm", "gdb-multiarch", "device-tree-compiler", "with apt")

    def test_without_root_and_sudo_one_message_names_the_packages(self):
        machine = Machine(self)
        machine.has("cc")
        machine.has("id", "echo 1000")
        machine.forbids("apt-get", "apt-cache")
        self.refused(machine, "qemu-system-arm")
        self.assertEqual(machine.called(), "")

    def test_an_old_qemu_is_no_qemu(self):
        machine = Machine(self)
        machine.ready(qemu="7.2.19")
        self.refused(machine, "missing qemu,", "version 9")

    def test_a_qemu_named_by_the_user_is_believed(self):
        machine = Machine(self)
        machine.ready(qemu="7.2.19")
        self.assertEqual(machine.setup(QEMU="/some/qemu"), (0, ""))

    def test_without_rust_the_message_says_so(self):
        machine = Machine(self)
        machine.ready()
        os.remove(os.path.join(machine.bin, "rustc"))
        status, output = machine.setup()
        self.assertEqual(status, 1)
        self.assertIn("rustup", output)


class Target(unittest.TestCase):
    def bare(self):
        machine = Machine(self)
        machine.ready()
        shutil.rmtree(os.path.join(machine.dir, "libdir"))
        machine.has("rustc", machine.rustc(False))
        return machine

    def test_rustup_told_to_fetch_nothing_is_never_asked(self):
        machine = self.bare()
        machine.forbids("rustup")
        status, output = machine.setup(RUSTUP_AUTO_INSTALL="0")
        self.assertEqual(status, 1)
        self.assertIn("no apt here", output)
        self.assertEqual(machine.called(), "")

    def test_rustup_is_asked_where_it_may_fetch(self):
        machine = self.bare()
        libdir = os.path.join(machine.dir, "libdir")
        machine.has("rustup", f"[ \"$*\" = 'target add aarch64-unknown-none-softfloat' ] || exit 1\n"
                    + "".join(f": > {libdir}/lib{crate}-0.rlib\n" for crate in ("core", "alloc", "compiler_builtins")))
        self.assertEqual(machine.setup(), (0, ""))

    def test_when_rustup_fails_the_sources_are_next(self):
        machine = self.bare()
        machine.forbids("rustup")
        status, output = machine.setup()
        self.assertEqual(status, 1)
        self.assertIn("building core", output)
        self.assertIn("target add", machine.called())

    def test_source_can_be_insisted_on(self):
        machine = Machine(self)
        machine.ready()
        status, output = machine.setup(CLEAVE_CORE="source")
        self.assertEqual(status, 1)
        self.assertIn("building core", output)


class Environment(unittest.TestCase):
    """What scripts/env prints for a shell to evaluate."""

    FLAGS = "CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_RUSTFLAGS"

    def flags(self, machine, **variables):
        done = subprocess.run([sys.executable, os.path.join(machine.root, "scripts", "env")],
                              env={"PATH": machine.bin, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            return None
        script = done.stdout.decode() + f'\nprintf %s "${self.FLAGS}"'
        return subprocess.run(["/bin/sh", "-c", script], env=variables, stdout=subprocess.PIPE).stdout.decode()

    def sysroot(self, machine):
        sysroot = os.path.join(machine.root, ".cache", "rust", "1.0.0-0123456789ab-here-1", "sysroot")
        libdir = os.path.join(sysroot, "lib", "rustlib", "aarch64-unknown-none-softfloat", "lib")
        os.makedirs(libdir)
        for crate in ("core", "alloc", "compiler_builtins"):
            with open(os.path.join(libdir, f"lib{crate}-0.rlib"), "w", encoding="utf-8"):
                pass
        return sysroot

    def test_a_toolchain_with_the_target_needs_no_flags(self):
        machine = Machine(self)
        self.sysroot(machine)
        self.assertEqual(self.flags(machine), "")

    def test_the_source_built_core_is_used_where_it_is_needed_or_asked_for(self):
        machine = Machine(self)
        sysroot = self.sysroot(machine)
        self.assertEqual(self.flags(machine, CLEAVE_CORE="source"), f"--sysroot={sysroot}")
        os.remove(os.path.join(machine.dir, "libdir", "libcore-0.rlib"))
        self.assertEqual(self.flags(machine), f"--sysroot={sysroot}")

    def test_flags_of_the_user_stay_and_ours_come_once(self):
        machine = Machine(self)
        sysroot = self.sysroot(machine)
        given = {self.FLAGS: "-Cx=1 --sysroot=/old", "CLEAVE_CORE": "source"}
        self.assertEqual(self.flags(machine, **given), f"-Cx=1 --sysroot={sysroot}")

    def test_without_any_core_it_is_an_error(self):
        machine = Machine(self)
        self.assertIsNone(self.flags(machine, CLEAVE_CORE="source"))


class Packages(unittest.TestCase):
    def test_the_upstream_version_is_what_must_match(self):
        for version, found in (("1.95.0+dfsg1-1~bpo13+1", "1.95.0"), ("1.96.0-2", "1.96.0"), ("1:10.0.2~rc1", "10.0.2")):
            self.assertEqual(core_source.upstream(version), found)

    def test_before_the_first_update_the_suites_are_known_by_name(self):
        def indextargets(command):
            known = "http://m/|bookworm|main|Docker\n"
            names = ("http://m/|bookworm|main|$(ORIGIN)\nhttp://s/|bookworm-security|main|$(ORIGIN)\n"
                     "http://x/|bookworm|stable|$(ORIGIN)\nhttp://y/|other|main|$(ORIGIN)\n")
            return names if "--no-release-info" in command else known
        with mock.patch.object(apt.tools, "output", indextargets), \
                mock.patch.object(apt, "os_release", lambda: {"ID": "debian", "VERSION_CODENAME": "bookworm"}):
            self.assertEqual(apt.base_suites(), [("http://m/", "bookworm", "main"), ("http://s/", "bookworm-security", "main")])
            self.assertEqual(apt.main_mirror(), "http://m/")


if __name__ == "__main__":
    unittest.main()
