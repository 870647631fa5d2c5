# SPDX-License-Identifier: MIT OR Apache-2.0
"""The known word that is nearest to an unknown one."""
from __future__ import annotations

import difflib

# What others call what is called otherwise here.
OTHER_NAMES = {
    "CPUS": "SMP", "NCPU": "SMP", "NCPUS": "SMP", "NR_CPUS": "SMP", "CORES": "SMP", "NPROC": "SMP",
    "MEMORY": "MEM", "RAM": "MEM", "BOARD": "MACHINE", "ARGS": "BOOTARGS", "APPEND": "BOOTARGS",
    "CMDLINE": "BOOTARGS", "PORT": "GDB_PORT", "DEADLINE": "rendezvous.deadline",
}


def nearest(word: str, known: list[str]) -> str | None:
    """Returns the known word that is most like `word`, or `None` where none is like it."""
    by_upper = {name.upper(): name for name in known}
    upper = word.upper()
    if OTHER_NAMES.get(upper) in known:
        return OTHER_NAMES[upper]
    found = difflib.get_close_matches(upper, by_upper, n=1, cutoff=0.6)
    return by_upper[found[0]] if found else None


def question(word: str, known: list[str], tail: str = "") -> str:
    """Returns the end of a sentence about `word`: `; SMP?`, or nothing. `tail` is put behind the known word."""
    found = nearest(word, known)
    return f"; {found}{tail}?" if found else ""
