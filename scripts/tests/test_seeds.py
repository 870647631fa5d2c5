# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about seeded defects: each says what must catch it, and a command that fails for another reason is none."""
from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import unittest

import support

LOADER = importlib.machinery.SourceFileLoader("seeds", os.path.join(support.SCRIPTS, "seeds"))
seeds = importlib.util.module_from_spec(importlib.util.spec_from_loader("seeds", LOADER))
LOADER.exec_module(seeds)

HEAD = "Defect: a\nCommand: b 'c d'\nExpect: e\nExpect: f\n"
PATCH = "\ndiff --git a/x b/x\n"


class Seeds(unittest.TestCase):
    def test_each_patch_of_the_folder_says_what_catches_it(self):
        self.assertGreater(len(seeds.seeds([])), 0)

    # Fails when a seed without an expected text is taken: any failure of its command would do.
    def test_a_head_that_lacks_something_is_refused(self):
        self.assertEqual(seeds.Seed("x", HEAD + PATCH).command, ["b", "c d"])
        for line in HEAD.splitlines(keepends=True)[:2]:
            self.assertRaises(seeds.SeedError, seeds.Seed, "x", HEAD.replace(line, "") + PATCH)
        self.assertRaises(seeds.SeedError, seeds.Seed, "x", HEAD.split("Expect")[0] + PATCH)
        self.assertRaises(seeds.SeedError, seeds.Seed, "x", HEAD)

    # Fails when a broken build counts as a defect that was caught.
    def test_only_a_failure_with_every_expected_text_counts(self):
        seed = seeds.Seed("x", HEAD + PATCH)
        self.assertIsNone(seed.problem(1, "e and f"))
        self.assertIn("passes", seed.problem(0, "e and f"))
        self.assertIn("'f'", seed.problem(101, "error: e"))


if __name__ == "__main__":
    unittest.main()
