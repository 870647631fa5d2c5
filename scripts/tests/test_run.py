"""Claims about the runner as a program, with a QEMU made of a few lines of shell."""
import json
import os
import signal
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
        self.assertEqual(self.boot("echo 'cleave: FAIL'; exit 0", ACCEL="kvm")[0], 1)
        self.assertEqual(self.boot("echo 'cleave: PASS'; exit 0", ACCEL="kvm")[0], 0)

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
        for path in (self.dir, os.path.join(self.dir, "no", "such", "place")):
            found, output = self.boot("echo 'CLEAVE-REPORT {}'; echo 'cleave: PASS'", REPORT=path)
            self.assertEqual(found, 2)
            self.assertIn(path, self.last_line(output))

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

    def test_the_console_is_live(self):
        with subprocess.Popen([RUNNER, self.image], stdout=subprocess.PIPE,
                              env=self.environment("printf 'prompt> '; exec sleep 30")) as child:
            child.stdout.readline()
            self.assertEqual(child.stdout.read(8), b"prompt> ")
            child.send_signal(signal.SIGINT)
            rest = child.stdout.read()
            self.assertEqual(child.wait(), 2)
            self.assertIn("interrupted", self.last_line(rest))

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
