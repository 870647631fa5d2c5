# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs QEMU, passes the console through, and finds the kernel's verdict.

The kernel says it twice: its last console line is `cleave: PASS`, `cleave: FAIL`
or `cleave: PANIC ...`, and it ends QEMU with the status 0, 1 or 3 through
semihosting (where there is semihosting). Both must agree.
"""
from __future__ import annotations

import enum
import json
import os
import select
import signal
import subprocess
import sys
import time

import symbols

PASS_LINE = b"cleave: PASS"
FAIL_LINE = b"cleave: FAIL"
PANIC_LINE = b"cleave: PANIC"
REPORT_MARK = b"CLEAVE-REPORT "
# After SIGTERM QEMU gets this long before SIGKILL.
GRACE = 2.0


class Verdict(enum.IntEnum):
    """The verdict of a run; the values are the exit status."""

    PASS = 0
    FAIL = 1
    NONE = 2
    PANIC = 3


class Console:
    """Splits the kernel's output: lines that carry meaning, and all that a person should see."""

    def __init__(self, write, annotate=lambda line: line) -> None:
        self._write = write
        self._annotate = annotate  # a whole line: what is shown instead
        self._line = bytearray()  # the current line, from its first byte
        self._shown = 0           # how much of it was written
        self.silent = True        # nothing has come at all
        self.verdicts: list[bytes] = []
        self.reports: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Takes bytes as they come and writes at once all that is no report."""
        self.silent = False
        for piece in split_lines(data):
            self._line += piece
            if not REPORT_MARK.startswith(bytes(self._line[:len(REPORT_MARK)])):
                self._show()
            if self._line.endswith(b"\n"):
                self.end_line()

    def end_line(self) -> None:
        """Reads a finished line; also called for a last one without a newline."""
        text = bytes(self._line).rstrip(b"\r\n")
        if text.startswith(REPORT_MARK):
            self.reports.append(text[len(REPORT_MARK):])
        else:
            self._show(end=True)
            if text in (PASS_LINE, FAIL_LINE):
                self.verdicts.append(text)
            elif text.startswith(PANIC_LINE):
                self.verdicts.append(PANIC_LINE)
        self._line.clear()
        self._shown = 0

    def _show(self, end: bool = False) -> None:
        line = bytes(self._line)
        # A carriage return waits for what follows: a name may have to come before it.
        until = len(line) - (line.endswith(b"\r") and not end)
        if until <= self._shown:
            return
        rest = line[self._shown:until]
        if rest.endswith(b"\n"):
            # What was shown of the line stays: only its end can still grow.
            whole = self._annotate(line)
            rest = whole[self._shown:] if whole.startswith(line[:self._shown]) else rest
        self._write(rest)
        self._shown = until


def split_lines(data: bytes) -> list[bytes]:
    """Lines with their newline. Only \\n ends one: a lone \\r must not hide a verdict."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def judge(console: Console, status: int, semihosting: bool, error: str) -> tuple[Verdict, str]:
    """Returns the verdict, and why where there is none. `error` is QEMU's last own word."""
    said = set(console.verdicts)
    if PANIC_LINE in said or (semihosting and status == Verdict.PANIC):
        return Verdict.PANIC, "panic"
    if status < 0:
        return Verdict.NONE, f"QEMU was ended by signal {-status}"
    if not said:
        if status and error:
            return Verdict.NONE, f"QEMU's error: {error}"
        return Verdict.NONE, f"QEMU ended with status {status}, the console without a verdict"
    if len(said) > 1:
        return Verdict.NONE, "the console said both pass and fail"
    verdict = Verdict.PASS if PASS_LINE in said else Verdict.FAIL
    # Without semihosting the power goes off through PSCI, and QEMU's status is 0.
    expected = int(verdict) if semihosting else 0
    if status != expected:
        return Verdict.NONE, f"the console said {verdict.name.lower()}, but QEMU's status is {status}"
    return verdict, ""


def write_report(console: Console, path: str) -> str:
    """Writes the report to its file; returns what is wrong with it, if anything."""
    if len(console.reports) != 1:
        return f"{len(console.reports)} report lines on the console instead of one"
    try:
        json.loads(console.reports[0])
    except ValueError as error:
        return f"the report is not JSON: {error}"
    try:
        with open(path, "wb") as file:
            file.write(console.reports[0] + b"\n")
    except OSError as error:
        return f"cannot write the report: {error}"
    return ""


class Interrupted(Exception):
    """A signal asked the runner to stop."""


def run(command: list[str], options) -> tuple[Verdict, str]:
    """Runs QEMU to its end, or to the timeout; returns the verdict and why."""
    if options.report:
        try:
            os.remove(options.report)
        except FileNotFoundError:
            pass
        except OSError as error:
            return Verdict.NONE, f"REPORT: {error}"

    def stop(number, _frame):
        raise Interrupted(signal.Signals(number).name)

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A shell starts what runs in the background with ctrl-C ignored: so it stays.
        if signal.getsignal(name) != signal.SIG_IGN:
            signal.signal(name, stop)
    try:
        child = subprocess.Popen(
            command, stdin=None if options.stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # A session of its own keeps ctrl-C for us; with the terminal as its console it needs ours.
            start_new_session=not options.stdin, preexec_fn=die_with_parent)
    except OSError as error:
        return Verdict.NONE, f"cannot start {command[0]}: {error.strerror}"
    console = Console(write_out, symbols.Backtraces(options.image).annotate)
    error = Errors()
    reason = ""
    try:
        reason = pump(child, console, error, options.timeout)
    except Interrupted as what:
        reason = f"interrupted by {what}"
    except BrokenPipeError:
        reason = "the reader of the console is gone"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        status = finish(child, bool(reason), options.stdin)
    console.end_line()
    verdict, why = judge(console, status, options.semihosting, error.last())
    if reason and verdict != Verdict.PANIC:
        verdict, why = Verdict.NONE, reason
    if options.report:
        wrong = write_report(console, options.report)
        if wrong and verdict in (Verdict.PASS, Verdict.FAIL):
            verdict, why = Verdict.NONE, wrong
    # The last line of all says it, so it need not stand there twice.
    error.show(but_last=error.last() != "" and error.last() in why)
    return verdict, why


class Errors:
    """QEMU's standard error, passed through but for its last line, which may be the reason of the end."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> None:
        """Takes bytes as they come."""
        lines = (self._held + data).splitlines(keepends=True)
        self._write(b"".join(lines[:-1]))
        # A line without an end can only grow so long.
        self._held = lines[-1][-4096:]

    def last(self) -> str:
        """Returns the last line."""
        return self._held.decode("utf-8", "replace").strip()

    def show(self, but_last: bool = False) -> None:
        """Writes what was held back."""
        if not but_last:
            self._write(self._held)
        self._held = b""

    @staticmethod
    def _write(data: bytes) -> None:
        sys.stderr.buffer.write(data)
        sys.stderr.flush()


def pump(child, console: Console, error: Errors, timeout: float | None) -> str:
    """Moves output until QEMU closes it; returns the reason to stop early, if there is one."""
    deadline = None if timeout is None else time.monotonic() + timeout
    out, err = child.stdout.fileno(), child.stderr.fileno()
    open_files = {out, err}
    while open_files:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            silent = ", and the kernel has printed nothing: a 32-bit CPU, or more MEM than it can address?"
            return f"timeout after {timeout:g} s" + (silent if console.silent else "")
        ready, _, _ = select.select(list(open_files), [], [], left)
        for file in ready:
            data = os.read(file, 65536)
            if not data:
                open_files.discard(file)
            elif file == out:
                # What QEMU has warned of comes before what the kernel says.
                error.show()
                console.feed(data)
            else:
                error.feed(data)
    return ""


def finish(child, kill: bool, same_session: bool) -> int:
    """Waits for our own child, ending it first if asked to; returns its status."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            if kill and child.poll() is None:
                if same_session:
                    child.send_signal(number)
                else:
                    os.killpg(child.pid, number)
            # It has closed its output: it is about to end, or it hangs.
            return child.wait(GRACE)
        except subprocess.TimeoutExpired:
            kill = True
    if child.poll() is None:
        child.kill()
    return child.wait()


def die_with_parent() -> None:
    """In the child: if the runner itself is killed, QEMU goes with it (Linux)."""
    if sys.platform == "linux":
        import ctypes
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def write_out(data: bytes) -> None:
    """Writes the console's bytes unchanged, in any encoding."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
