# SPDX-License-Identifier: MIT OR Apache-2.0
"""A report with every key, as the kernel would write it; for tests."""


def report(cpus: int = 4) -> dict:
    """Returns a passing run on virt."""
    kicked = 1_000_000
    return {
        "version": 1,
        "kernel": {"version": "0.1.0", "commit": "0123abc", "profile": "release",
                   "bootargs": "selftest <b>", "unknown_bootargs": ["console=<i>"]},
        "machine": {"model": "linux,dummy-virt", "compatible": ["linux,dummy-virt"], "entry_el": 1,
                    "granule": 4096, "va_bits": 48, "conduit": "hvc", "gic": 3},
        "cpus": [{"id": n, "mpidr": 0x80000000 + n, "midr": 0x410FD083, "bbm": 0,
                  "method": "boot" if n == 0 else "psci", "online": True, "error": None} for n in range(cpus)],
        "errata": [{"core": "Cortex-A55 <r2p0>", "number": "2441007", "scope": "system"}],
        "memory": {"bytes": 1 << 30, "regions": [[1 << 30, 2 << 30]], "reserved": [[0x48000000, 0x48100000]]},
        "decision": {"level": 0, "action": "page", "outcome": "done", "attempts": 1, "reason": "CPU 0 has no FEAT_BBM"},
        "tables": {"census": 513, "reserved": 513, "used": 512, "returned": 1},
        "leaves": {"before": {"1G": 0, "cont2M": 496, "2M": 15, "cont4K": 480, "4K": 30},
                   "after": {"1G": 0, "cont2M": 0, "2M": 0, "cont4K": 0, "4K": 262144}},
        "map": {"bytes": {"1G": 0, "cont2M": 0, "2M": 0, "cont4K": 0, "4K": (1 << 30) - 8192, "unmapped": 8192},
                "splits": {"1G": 0, "2M": 511}, "collapses": {"1G": 0, "2M": 0}, "tables": 514, "transactions": 2,
                "spurious": 1, "conflicts": 0},
        "clock": "real",
        "ticks": {"frequency": 62500000, "paint": 22600, "reserve": 5130, "fill": 480000, "gather": 2100,
                  "window": 30, "release": 900, "repaint": 500000, "ready": 730000},
        "timeline": [{"cpu": n, "kicked": kicked, "arrived": kicked + 500 + 90 * n, "masked": kicked + 600 + 100 * n,
                      "released": kicked + 2200 + 40 * n, "filled": 128} for n in range(cpus)],
        "load": {"cpus": cpus, "bytes_checked": 1 << 28, "mismatches": 0, "faults": 0,
                 "per_cpu": [{"before": 1000, "during": 40, "after": 900} for _ in range(cpus)]},
        "audit": {"wx": 0, "aliases": 0, "translation_mismatches": 0, "census_mismatches": 0},
        "panic": {"cpu": 3, "text": "index <5> out of range", "backtrace": ["0xffff800080044de0", "0xffff8000800353b0"]},
        "errors": ["bad <value>"],
        "result": "pass",
    }
