# SPDX-License-Identifier: MIT OR Apache-2.0
"""The names of the kernel's boot arguments. scripts/tests/test_bootargs.py holds them to src/options/argument.rs."""
from __future__ import annotations

import re

from nearest import question

NAMES = ("bbml2", "cpuN.bbm", "cpuN.pa", "linear", "fill", "rendezvous.deadline", "load", "report", "exit", "clock",
         "pool", "selftest", "monitor", "fault")
# White space between double quotes belongs to the argument, as in the kernel.
ARGUMENT = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')


def unknown(text: str) -> list[str]:
    """Returns the arguments that the kernel does not know, each with the one that may have been meant."""
    found = []
    for argument in ARGUMENT.findall(text):
        name, equals, value = argument.strip('"').partition("=")
        # The one name with a number in it.
        if re.sub(r"^cpu\d+\.", "cpuN.", name) not in NAMES:
            found.append(argument + question(name, list(NAMES), equals + value))
    return found
