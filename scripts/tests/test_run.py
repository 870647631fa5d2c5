# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about the runner as a program, with a QEMU made of a few lines of shell."""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import support
import options
import run

RUNNER = os.path.join(support.SCRIPTS, "qemu")


class Runner(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = directory.name
        self.image = os.path.join(self.dir, "kernel.img")
        with open(self.image, "wb") as file:
            file.write(support.header())

    def environment(self, body, **variables):
        clean = {k: v for k, v in os.environ.items() if k not in options.VARIABLES}
        return {**clean, "CARGO_TARGET_DIR": self.dir, "TIMEOUT": "20",
                "QEMU": support.program(self.dir, "qemu", body), **variables}

    def boot(self, body, *arguments, **variables):
        """Runs the fake; returns (status, output as bytes)."""
        done = subprocess.run([RUNNER, *arguments, self.image], env=self.environment(body, **variables),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return done.returncode, done.stdout

    def last_line(self, output):
        return output.decode("utf-8", "replace").strip().splitlines()[-1]

    def test_the_verdict_is_the_exit_status(self):
        for line, status, verdict in (("PASS", 0, 0), ("FAIL", 1, 1), ("PANIC at the disco", 3, 3)):
            found, output = self.boot(f"echo 'cleave: {line}'; exit {status}")
            self.assertEqual(found, verdict)
            self.assertIn(line.encode(), output)

    def test_the_command_line_is_echoed_first(self):
        _, output = self.boot("echo 'cleave: PASS'", SMP="3")
        self.assertIn(b"-smp 3 ", output.splitlines()[0])

    def test_disagreement_is_no_verdict(self):
        for line, status in (("PASS", 1), ("FAIL", 0), ("PASS", 3 + 4)):
            found, output = self.boot(f"echo 'cleave: {line}'; exit {status}")
            self.assertEqual(found, 2)
            self.assertIn("the console said", self.last_line(output))
        found, _ = self.boot("echo 'cleave: PASS'; echo 'cleave: FAIL'; exit 0")
        self.assertEqual(found, 2)

    def test_a_panic_counts_whatever_the_status(self):
        for status in (0, 1, 3):
            self.assertEqual(self.boot(f"echo 'cleave: PANIC now'; exit {status}")[0], 3)
        self.assertEqual(self.boot("exit 3")[0], 3)
        self.assertEqual(self.boot("echo 'cleave: PANIC now'; exec sleep 60", TIMEOUT="1")[0], 3)

    def test_a_verdict_is_a_whole_line(self):
        for text in ("no cleave: PASS", "cleave: PASSED", "cleave: PASS?", " cleave: PASS"):
            self.assertEqual(self.boot(f"echo '{text}'")[0], 2, text)
        self.assertEqual(self.boot(r"printf 'cleave: PASS\r\n'")[0], 0)
        self.assertEqual(self.boot("printf 'cleave: PASS'")[0], 0)

    def test_without_a_verdict_the_last_line_says_why(self):
        found, output = self.boot("echo 'qemu: no such thing' >&2; exit 1")
        self.assertEqual(found, 2)
        self.assertIn("no such thing", self.last_line(output))
        found, output = self.boot("echo hello")
        self.assertEqual(found, 2)
        self.assertIn("without a verdict", self.last_line(output))
        found, output = self.boot("kill -9 $$")
        self.assertEqual(found, 2)
        self.assertIn("signal 9", self.last_line(output))

    # Fails when QEMU's last word is passed through and told once more behind it, or when the lines before it are lost.
    def test_an_error_of_qemu_is_told_once(self):
        for body, status in (("echo 'qemu: careful' >&2; echo 'qemu: no such thing' >&2; exit 1", 2),
                             ("echo 'qemu: careful' >&2; echo 'qemu: no such thing' >&2; echo 'cleave: PASS'", 0)):
            done = subprocess.run([RUNNER, self.image], env=self.environment(body), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, status)
            self.assertEqual((done.stdout.count(b"careful"), done.stdout.count(b"no such thing")), (1, 1), done.stdout)

    def test_a_kernel_that_has_said_nothing_is_told_at_the_timeout(self):
        self.assertIn("printed nothing", self.last_line(self.boot("exec sleep 60", TIMEOUT="0.2")[1]))
        console = run.Console(lambda data: None)
        self.assertTrue(console.silent)
        console.feed(b"u")
        self.assertFalse(console.silent)

    def test_a_boot_argument_that_the_kernel_does_not_know_is_warned_of_and_the_run_goes_on(self):
        found, output = self.boot("echo 'cleave: PASS'", BOOTARGS="fil=window load=on quiet")
        self.assertEqual(found, 0)
        lines = output.decode().splitlines()
        self.assertIn("fil=window; fill=window?", lines[0])
        self.assertTrue(lines[1].endswith("quiet"))
        self.assertIn("-kernel", lines[2])

    def test_a_run_ends_at_its_timeout(self):
        begin = time.monotonic()
        found, output = self.boot("echo 'cleave: PASS'; trap '' TERM; while :; do sleep 1; done", TIMEOUT="1")
        self.assertEqual(found, 2)
        self.assertIn("timeout after 1 s", self.last_line(output))
        self.assertLess(time.monotonic() - begin, 8)

    def test_a_qemu_that_closes_its_output_and_hangs_is_ended(self):
        found, _ = self.boot("exec >&- 2>&-; exec sleep 60")
        self.assertEqual(found, 2)

    def test_a_missing_qemu_is_no_verdict(self):
        done = subprocess.run([RUNNER, self.image], stdout=subprocess.PIPE,
                              env=self.environment("", QEMU=os.path.join(self.dir, "none")))
        self.assertEqual(done.returncode, 2)
        self.assertIn("cannot start", self.last_line(done.stdout))

    def test_a_request_that_cannot_be_met_starts_nothing(self):
        found, output = self.boot(f"touch {self.dir}/started", GIC="2", SMP="9")
        self.assertEqual(found, 2)
        self.assertIn("8 CPUs at most", self.last_line(output))
        self.assertFalse(os.path.exists(os.path.join(self.dir, "started")))

    def test_a_dry_run_starts_nothing(self):
        found, output = self.boot(f"touch {self.dir}/started", "--dry-run")
        self.assertEqual(found, 0)
        self.assertIn(b"-kernel", output)
        self.assertFalse(os.path.exists(os.path.join(self.dir, "started")))

    def test_hardware_virtualisation_has_the_console_line_only(self):
        for line, verdict in ((run.FAIL_LINE, run.Verdict.FAIL), (run.PASS_LINE, run.Verdict.PASS)):
            console = run.Console(lambda data: None)
            console.feed(line + b"\n")
            self.assertEqual(run.judge(console, 0, False, "")[0], verdict)

    def test_bytes_that_are_no_text_pass_through(self):
        _, output = self.boot(r"printf 'a\377\200\rb\n'; echo 'cleave: PASS'")
        self.assertIn(b"a\xff\x80\rb\n", output)

    def test_the_report_goes_to_its_file_and_not_to_the_console(self):
        path = os.path.join(self.dir, "r.json")
        found, output = self.boot("""echo before; printf 'CLEAVE-REP'; sleep 0.2; echo 'ORT {"version": 1}'
            echo after; echo 'cleave: PASS'""", REPORT=path)
        self.assertEqual(found, 0)
        self.assertIn(b"before\nafter\n", output)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(json.load(file), {"version": 1})

    def test_an_old_report_does_not_survive_a_run_without_one(self):
        path = os.path.join(self.dir, "r.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write("{}")
        found, output = self.boot("echo 'cleave: PASS'", REPORT=path)
        self.assertEqual(found, 2)
        self.assertIn("0 report lines", self.last_line(output))
        self.assertFalse(os.path.exists(path))

    def test_a_report_that_is_no_json_is_no_verdict(self):
        path = os.path.join(self.dir, "r.json")
        found, output = self.boot("echo 'CLEAVE-REPORT {'; echo 'cleave: PASS'", REPORT=path)
        self.assertEqual(found, 2)
        self.assertIn("not JSON", self.last_line(output))

    def test_a_report_that_cannot_be_written_is_no_verdict(self):
        # The place is lost during the run.
        place = os.path.join(self.dir, "place")
        os.mkdir(place)
        path = os.path.join(place, "r.json")
        found, output = self.boot(f"rmdir '{place}'; echo 'CLEAVE-REPORT {{}}'; echo 'cleave: PASS'", REPORT=path)
        self.assertEqual(found, 2)
        self.assertIn(path, self.last_line(output))

    # Fails when what cannot be written is noticed behind the run.
    def test_a_report_that_cannot_be_written_starts_nothing(self):
        for path in (self.dir, os.path.join(self.dir, "no", "such", "place"), "-"):
            found, output = self.boot(f"touch {self.dir}/started", REPORT=path)
            self.assertEqual(found, 2)
            self.assertIn(f"REPORT={path}", self.last_line(output))
            self.assertFalse(os.path.exists(os.path.join(self.dir, "started")))

    # Fails when gdb is left to talk to another machine, which has the port.
    def test_a_port_that_is_taken_starts_nothing(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = str(other.getsockname()[1])
            found, output = self.boot(f"touch {self.dir}/started", "--gdb", port)
        self.assertEqual(found, 2)
        self.assertIn(f"GDB_PORT={port}", self.last_line(output))
        self.assertIn("another make debug?", self.last_line(output))
        self.assertFalse(os.path.exists(os.path.join(self.dir, "started")))

    # Fails when an unforeseen error ends with the kernel's own status for fail.
    def test_what_is_unexpected_is_no_verdict(self):
        blocked = os.path.join(self.dir, "file")
        with open(blocked, "wb"):
            pass
        found, output = self.boot("echo 'cleave: PASS'", CARGO_TARGET_DIR=blocked)
        self.assertEqual(found, 2)
        self.assertIn("qemu: no verdict: ", self.last_line(output))
        self.assertIn(blocked, self.last_line(output))

    def test_a_reader_that_goes_away_ends_the_run(self):
        with subprocess.Popen([RUNNER, self.image], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=self.environment("while :; do echo again; done")) as child:
            child.stdout.readline()
            child.stdout.close()
            error = child.stderr.read()
            self.assertEqual(child.wait(), 2)
            self.assertNotIn(b"Traceback", error)

    def test_a_panic_keeps_its_report(self):
        path = os.path.join(self.dir, "r.json")
        found, _ = self.boot("echo 'CLEAVE-REPORT {}'; echo 'cleave: PANIC x'; exit 3", REPORT=path)
        self.assertEqual(found, 3)
        self.assertTrue(os.path.exists(path))

    # The signal's action is set: with `make test &` in a script it is inherited as ignored.
    def test_the_console_is_live(self):
        with subprocess.Popen([RUNNER, self.image], stdout=subprocess.PIPE,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                              env=self.environment("printf 'prompt> '; exec sleep 30")) as child:
            child.stdout.readline()
            self.assertEqual(child.stdout.read(8), b"prompt> ")
            child.send_signal(signal.SIGINT)
            rest = child.stdout.read()
            self.assertEqual(child.wait(), 2)
            self.assertIn("interrupted", self.last_line(rest))

    # Fails when the runner takes back a signal that its caller ignores: a run in the background would die of ctrl-C.
    def test_an_ignored_control_c_stays_ignored(self):
        with subprocess.Popen([RUNNER, self.image], stdout=subprocess.PIPE,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
                              env=self.environment("printf 'prompt> '; exec sleep 30")) as child:
            child.stdout.readline()
            child.stdout.read(8)
            child.send_signal(signal.SIGINT)
            child.send_signal(signal.SIGTERM)
            self.assertIn("interrupted by SIGTERM", self.last_line(child.stdout.read()))
            self.assertEqual(child.wait(), 2)

    def test_qemu_ends_with_a_killed_runner(self):
        if sys.platform != "linux":
            self.skipTest("needs Linux")
        pid_file = os.path.join(self.dir, "pid")
        with subprocess.Popen([RUNNER, self.image], stdout=subprocess.PIPE,
                              env=self.environment(f"echo $$ > {pid_file}; echo up; exec sleep 30")) as child:
            child.stdout.readline()
            child.stdout.readline()
            child.kill()
        with open(pid_file, encoding="utf-8") as file:
            pid = int(file.read())
        for _ in range(50):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                    if file.read().rpartition(")")[2].split()[0] == "Z":
                        return
            except OSError:
                return
            time.sleep(0.1)
        self.fail("the fake QEMU still runs")


class Lines(unittest.TestCase):
    def test_however_the_bytes_are_cut_the_console_reads_the_same(self):
        stream = b'one\nCLEAVE-REPORT {"a": 1}\r\nCLEAVE-x\n\ncleave: PASS\n'
        for step in range(1, len(stream) + 1):
            shown = bytearray()
            console = run.Console(shown.extend)
            for start in range(0, len(stream), step):
                console.feed(stream[start:start + step])
            console.end_line()
            self.assertEqual(bytes(shown), b"one\nCLEAVE-x\n\ncleave: PASS\n", step)
            self.assertEqual(console.reports, [b'{"a": 1}'])
            self.assertEqual(console.verdicts, [b"cleave: PASS"])


if __name__ == "__main__":
    unittest.main()
