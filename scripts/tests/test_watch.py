# SPDX-License-Identifier: MIT OR Apache-2.0
"""What `make watch` prints about its own output."""
from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import unittest

import support

LOADER = importlib.machinery.SourceFileLoader("watch", os.path.join(support.SCRIPTS, "watch"))
watch = importlib.util.module_from_spec(importlib.util.spec_from_loader("watch", LOADER))
LOADER.exec_module(watch)

CPU = {"table_stores": 1234, "broadcast_tlbis": 5, "local_tlbis": 6, "dsbs": 7, "accesses": 8, "acquires": 9}


class Legend(unittest.TestCase):
    """Fails when a column is printed without a meaning, or a cell under another column's heading."""

    def test_each_cell_ends_or_begins_under_its_heading(self):
        seen = {"verdict": "M4", "tables_new": 514, "cpus": [CPU, CPU]}
        row = watch.row(watch.MACHINES[1], seen, {"decision": {"action": "split"}}, 1.25)
        head = watch.line([heading for heading, _, _ in watch.COLUMNS])
        cells = [row[head.index(heading):].split()[0] for heading in ("machine", "does", "verdict")]
        self.assertEqual(cells, ["cortex-a72", "split", "M4"])
        ends = {heading: head.index(heading + " ") + len(heading) for heading in ("stores", "TLBIs", "local", "accesses")}
        self.assertEqual({heading: row[:end].split()[-1] for heading, end in ends.items()},
                         {"stores": "2,468", "TLBIs": "10", "local": "12", "accesses": "16"})

    def test_each_column_has_a_meaning_and_each_line_fits(self):
        text = watch.legend([(heading, meaning) for heading, _, meaning in watch.COLUMNS])
        for heading, _, meaning in watch.COLUMNS:
            self.assertIn(f"  {heading} ", text)
            self.assertGreater(len(meaning), 10)
        self.assertLessEqual(max(map(len, text.splitlines())), 100)


if __name__ == "__main__":
    unittest.main()
