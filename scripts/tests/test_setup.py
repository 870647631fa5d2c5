# SPDX-License-Identifier: MIT OR Apache-2.0
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
import tools

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
        # A compiler that is not the tested one is named.
        other = tools.Rustc().release != tools.tested_rust()
        self.assertEqual((done.returncode, done.stdout.count(b"\n")), (0, other), done.stdout)
        self.assertEqual(machine.called(), "")

    # Fails when another compiler is taken for the tested one, or when a plain run is told of it each time.
    def test_another_compiler_than_the_tested_one_is_named(self):
        machine = Machine(self)
        machine.ready()
        for tested, expected in (("1.0.0", ""), ("1.0.1", "1.0.1")):
            with open(os.path.join(machine.root, "Cargo.toml"), "w", encoding="utf-8") as file:
                file.write(f'[workspace.metadata.rust]\ntested = "{tested}"\n')
            status, output = machine.setup()
            self.assertEqual((status, output.count("\n")), (0, 1 if expected else 0), output)
            self.assertIn(expected, output)
            self.assertEqual(machine.setup("run"), (0, ""))

    # Fails when the lock is taken before anything is known to be missing: a checkout may be for reading only.
    def test_a_ready_machine_needs_nothing_written(self):
        machine = Machine(self)
        machine.ready()
        # Even root cannot write this.
        os.mkdir(os.path.join(machine.root, ".cache", "setup.lock"))
        self.assertEqual(machine.setup(), (0, ""))
        shutil.rmtree(os.path.join(machine.root, ".cache", "rpi4"))
        status, output = machine.setup()
        self.assertEqual((status, output.count("\n")), (1, 1))
        self.assertIn(os.path.join(machine.root, ".cache") + " cannot be written", output)

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

    # Fails when it is installed over without a word, or when a newer one behind it in the path is not seen.
    def test_a_qemu_that_is_too_old_is_named(self):
        machine = Machine(self)
        machine.ready(qemu="7.2.19")
        old = os.path.join(machine.bin, "qemu-system-aarch64")
        self.refused(machine, f"{old} is QEMU 7.2.19: 9 or later is needed")
        second = os.path.join(machine.dir, "second")
        os.mkdir(second)
        support.program(second, "qemu-system-aarch64", "echo 'QEMU emulator version 9.0.0'")
        self.assertEqual(machine.setup(PATH=machine.bin + os.pathsep + second), (0, ""))

    def test_a_qemu_named_by_the_user_is_used_and_must_do(self):
        machine = Machine(self)
        machine.ready(qemu="7.2.19")
        old = os.path.join(machine.bin, "qemu-system-aarch64")
        other = support.program(machine.dir, "another", "exit 1")
        self.assertEqual(machine.setup(QEMU=other), (0, ""))
        self.assertEqual(machine.setup(QEMU=old), (1, f"setup: QEMU={old} is version 7.2.19: must be 9 or later\n"))
        self.assertEqual(machine.setup(QEMU="/some/qemu"), (1, "setup: QEMU=/some/qemu: no such program\n"))
        self.assertEqual(machine.setup("build", QEMU="/some/qemu"), (0, ""))

    # Fails when gdb is left to find out, at a dead prompt.
    def test_a_gdb_named_by_the_user_must_know_the_architecture(self):
        machine = Machine(self)
        machine.ready()
        machine.has("host-gdb", "exit 1")
        expected = f"GDB=host-gdb does not know AArch64; {machine.bin}/gdb-multiarch does\n"
        self.assertEqual(machine.setup("debug", GDB="host-gdb"), (1, f"setup: {expected}"))
        self.assertEqual(machine.setup("run", GDB="host-gdb"), (0, ""))
        done = subprocess.run([sys.executable, os.path.join(machine.root, "scripts", "gdb-path")],
                              env={"PATH": machine.bin, "GDB": "host-gdb"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((done.returncode, done.stdout.decode()), (2, f"debug: {expected}"))

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


class Blank(unittest.TestCase):
    """A project in a directory whose name has a blank: cargo splits its variables there."""

    # Fails when the path reaches rustc in pieces, or when cargo for the host gets a flag of the target's.
    def test_the_real_cargo_hands_the_whole_path_to_rustc(self):
        with tempfile.TemporaryDirectory() as directory:
            root = os.path.join(os.path.realpath(directory), "with a blank")
            shutil.copytree(support.SCRIPTS, os.path.join(root, "scripts"), ignore=shutil.ignore_patterns("__pycache__", "tests"))
            rustc = tools.Rustc()
            sysroot = os.path.join(root, os.path.relpath(rustc.cache(), tools.ROOT), "sysroot")
            libdir = os.path.join(sysroot, "lib", "rustlib", tools.TARGET, "lib")
            os.makedirs(libdir)
            for crate in ("core", "alloc", "compiler_builtins"):
                with open(os.path.join(libdir, f"lib{crate}-0.rlib"), "w", encoding="utf-8"):
                    pass
            with open(os.path.join(root, "Cargo.toml"), "w", encoding="utf-8") as file:
                file.write('[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "empty.rs"\n')
            shutil.copy(os.path.join(tools.ROOT, "rust-toolchain.toml"), root)
            with open(os.path.join(root, "empty.rs"), "w", encoding="utf-8"):
                pass
            environment = {name: value for name, value in os.environ.items() if not name.startswith("CARGO_TARGET")}
            environment.update(CLEAVE_CORE="source")
            # Prints where rustc looks for core, and compiles nothing.
            asked = ["rustc", "--quiet", "--", "--print", "sysroot"]
            for command in ([os.path.join(root, "scripts", "cargo-aarch64"), *asked],
                            ["/bin/sh", "-c", f'eval "$(scripts/env)"; eval "$(scripts/env)"; cargo "$@" && scripts/cargo-aarch64 "$@"',
                             "sh", *asked]):
                done = subprocess.run(command, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
                self.assertEqual(done.returncode, 0)
                self.assertEqual(done.stdout.decode().splitlines()[-1], sysroot)
            self.assertNotEqual(done.stdout.decode().splitlines()[0], sysroot)


class Network(unittest.TestCase):
    """A machine that cannot reach its mirrors: apt is a few lines that say so."""

    HOST = "mirror.invalid"

    def bare(self, complaint):
        machine = Machine(self)
        machine.has("rustc", machine.rustc(False))
        for name in os.listdir(os.path.join(machine.dir, "libdir")):
            os.remove(os.path.join(machine.dir, "libdir", name))
        machine.has("cc")
        machine.has("apt-get", f"""echo "$@" >> {machine.dir}/{CALLED}
            case "$*" in
            indextargets*) echo 'http://{self.HOST}/debian/|stable|main|Debian' ;;
            *update) echo "E: Failed to fetch http://{self.HOST}/x  {complaint}"; echo 'E: More'; exit 100 ;;
            esac""")
        return machine

    # Fails when every suite is tried in turn, each with its retries, and when apt's pages are all that is said.
    @unittest.skipUnless(apt.os_release().get("ID") in apt.KEYRINGS, "needs Debian or Ubuntu")
    def test_it_is_told_at_once_with_another_way(self):
        for complaint in (f"Temporary failure resolving '{self.HOST}'", f"Could not resolve '{self.HOST}'",
                          f"Cannot initiate the connection to {self.HOST}:80 (192.0.2.1). - connect (101: Network is unreachable)"):
            machine = self.bare(complaint)
            status, output = machine.setup("build", RUSTUP_AUTO_INSTALL="0")
            self.assertEqual(status, 1)
            lines = output.splitlines()
            self.assertEqual(len(lines), 2, output)
            self.assertTrue(lines[1].startswith(f"setup: no network: cannot reach {self.HOST};"), output)
            self.assertIn("rustup target add aarch64-unknown-none-softfloat", lines[1])
            self.assertEqual(machine.called().count("update"), 1)

    @unittest.skipUnless(apt.os_release().get("ID") in apt.KEYRINGS, "needs Debian or Ubuntu")
    def test_another_complaint_is_shown_and_the_other_suites_are_tried(self):
        machine = self.bare("404  Not Found")
        status, output = machine.setup("build", RUSTUP_AUTO_INSTALL="0")
        self.assertEqual(status, 1)
        self.assertIn("404", output)
        self.assertGreater(machine.called().count("update"), 1)


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
