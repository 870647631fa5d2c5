# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about how the programs end: never with a traceback, and status 1 is not the interpreter's."""
import glob
import os
import signal
import subprocess
import sys
import tempfile
import unittest

import support

PROGRAM = """import os, sys
sys.path.insert(0, {lib!r})
import entry
def main():
    {body}
entry.run(main)
"""


def programs():
    """Returns the programs in scripts/ that are Python."""
    found = []
    for path in sorted(glob.glob(os.path.join(support.SCRIPTS, "*"))):
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                if file.readline().rstrip().endswith("python3"):
                    found.append(path)
    return found


class Ends(unittest.TestCase):
    def end(self, body, **extra):
        """Runs a program of one statement; returns its status, output and errors."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "sample")
            with open(path, "w", encoding="utf-8") as file:
                file.write(PROGRAM.format(lib=os.path.join(support.SCRIPTS, "lib"), body=body))
            done = subprocess.run([sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **extra)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    # Fails when a program is started without the shared way in: its errors would be tracebacks, with status 1.
    def test_every_program_goes_in_by_the_one_way(self):
        self.assertIn(os.path.join(support.SCRIPTS, "qemu"), programs())
        for path in programs():
            with open(path, encoding="utf-8") as file:
                text = file.read()
            self.assertIn("\nimport entry\n", text, path)
            last = text.rstrip().splitlines()[-2:]
            self.assertEqual(last[0], 'if __name__ == "__main__":', path)
            self.assertTrue(last[1].startswith("    entry.run(main"), path)

    def test_a_status_is_passed_on(self):
        self.assertEqual(self.end("return 3"), (3, "", ""))
        self.assertEqual(self.end("sys.exit(1)"), (1, "", ""))

    def test_an_error_that_nobody_foresaw_is_one_sentence_and_status_2(self):
        status, output, error = self.end("raise ValueError('first\\nsecond')")
        self.assertEqual((status, output), (2, ""))
        self.assertEqual(error.count("\n"), 1)
        for word in ("sample: ", "ValueError", "first", "(sample:5)"):
            self.assertIn(word, error)

    def test_a_file_that_cannot_be_opened_is_named(self):
        self.assertEqual(self.end("open('/no/such/file')"), (2, "", "sample: No such file or directory: /no/such/file\n"))

    def test_control_c_is_no_traceback(self):
        self.assertEqual(self.end("os.kill(os.getpid(), 2)", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)),
                         (2, "", "sample: interrupted\n"))

    # `| head`: fails when the interpreter's last flush complains, or when the status says fail.
    def test_a_reader_that_goes_away_is_no_traceback(self):
        for body in ("print('x' * 100000)", "print('x')", "print('x', flush=True)"):
            reader, writer = os.pipe()
            os.close(reader)
            with tempfile.TemporaryFile() as error:
                program = PROGRAM.format(lib=os.path.join(support.SCRIPTS, "lib"), body=body)
                done = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=error)
                os.close(writer)
                error.seek(0)
                self.assertEqual((done.returncode, error.read()), (2, b""), body)


if __name__ == "__main__":
    unittest.main()
