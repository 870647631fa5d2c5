# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about the page made from reports."""
import copy
import json
import os
import re
import subprocess
import tempfile
import unittest
from html.parser import HTMLParser

import sample
import support
import page

TOOL = os.path.join(support.SCRIPTS, "report")


class Balanced(HTMLParser):
    """Fails on a tag that is closed wrongly."""

    VOID = {"meta", "br", "rect"}

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open and self.open.pop() == tag, tag


def variants(report):
    """The report with each value, at every depth, replaced by null in turn."""
    def paths(value, path):
        if path:
            yield path
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            yield from paths(inner, [*path, key])
    for path in paths(report, []):
        made = copy.deepcopy(report)
        place = made
        for key in path[:-1]:
            place = place[key]
        # Entries of lists are never null themselves.
        if isinstance(place, dict):
            place[path[-1]] = None
            yield path, made


class Page(unittest.TestCase):
    def check(self, text):
        parser = Balanced()
        parser.feed(text)
        self.assertEqual(parser.open, [])

    def test_whatever_is_null_the_page_is_whole(self):
        for path, made in variants(sample.report(2)):
            with self.subTest(path=path):
                self.check(page.render([("r.json", made)]))

    def test_text_from_outside_is_escaped(self):
        text = page.render([("<u>.json", sample.report())])
        for word in ("<u>", "<b>", "<i>", "<value>", "<5>", "<r2p0>"):
            self.assertNotIn(word, text)
        self.assertIn("bad &lt;value&gt;", text)

    def test_nothing_is_fetched_from_anywhere(self):
        text = page.render([("r.json", sample.report())])
        self.assertIsNone(re.search(r"https?:|src=|<script|<link|@import|url\(", text))

    def test_leaves_ticks_timeline_and_audit_are_there(self):
        text = page.render([("r.json", sample.report(3))])
        for word in ("leaves before and after", "timeline of the last rendezvous", "CPU 2: kicked to arrived 680 ticks",
                     "window: 30 ticks", "480 ns", "translation mismatches", "262\u202f144"):
            self.assertIn(word, text)

    def test_a_counted_clock_is_called_so_and_shows_no_time(self):
        made = dict(sample.report(3), clock="counted")
        shown = page.render([("r.json", made)])
        self.assertIn("the clock is counted", shown)
        self.assertIn("CPU 2: kicked to arrived 680 ticks;", shown)
        self.assertIn("<td class=\"n\">counted</td>", shown)
        for unit in (" ns", "µs", " ms", " s<", "Hz"):
            self.assertNotIn(unit, shown)

    def test_tables_are_said_to_be_filled_before_the_kick_or_in_the_window(self):
        made = sample.report(3)
        for words, when in (("selftest", "before the kick"), ("fill=ahead fill=window", "in the window")):
            made["kernel"]["bootargs"] = words
            self.assertIn(f"it filled 128 tables {when}", page.render([("r.json", made)]))

    def widths(self, shown, words):
        """Returns the widths of the bars whose tooltip has these words."""
        return [float(width) for width in re.findall(rf'width="([\d.]+)"[^>]*><title>{words}', shown)]

    def test_all_timelines_of_a_page_have_one_scale(self):
        # The second boot takes four times as long, at half the frequency: the scale is time, not ticks.
        slow = sample.report(3)
        slow["ticks"]["frequency"] //= 2
        for row in slow["timeline"]:
            row.update({key: 1_000_000 + 2 * (row[key] - 1_000_000) for key in ("kicked", "arrived", "masked", "released")})
        words = "CPU 2: kicked to arrived"
        fast, = self.widths(page.render([("a.json", sample.report(3))]), words)
        both = self.widths(page.render([("a.json", sample.report(3)), ("b.json", slow)]), words)
        self.assertAlmostEqual(both[1], fast, delta=0.1)
        self.assertAlmostEqual(both[0] * 4, both[1], delta=0.1)

    def test_counted_timelines_are_not_measured_by_real_ones(self):
        counted = dict(sample.report(3), clock="counted")
        words = "CPU 2: kicked to arrived"
        alone, = self.widths(page.render([("a.json", counted)]), words)
        self.assertEqual(self.widths(page.render([("a.json", counted), ("b.json", sample.report(3))]), words)[0], alone)

    def test_a_cpu_that_did_not_come_is_named(self):
        made = sample.report(3)
        made["timeline"][1].update(arrived=None, masked=None, released=None)
        self.assertIn("did not come: CPU 1<", page.render([("r.json", made)]))
        self.assertNotIn("did not come", page.render([("r.json", sample.report(3))]))

    def test_what_was_not_counted_is_not_drawn_as_zero(self):
        made = sample.report()
        made["leaves"]["after"] = dict.fromkeys(made["leaves"]["after"])
        shown = page.render([("r.json", made)])
        self.assertIn("the other side was not counted", shown)
        self.assertNotIn("<title>4K: 0</title>", shown)
        self.assertIn("<title>4K: 30</title>", shown)

    def test_a_panic_is_shown_with_its_cpu_and_its_backtrace(self):
        shown = page.render([("r.json", sample.report())])
        for word in (">pass, panic<", "on CPU 3:", "index &lt;5&gt; out of range", "0xffff800080044de0\n0xffff8000800353b0"):
            self.assertIn(word, shown)
        shown = page.render([("r.json", dict(sample.report(), panic=None))])
        self.assertNotIn("panic", shown.lower())

    def test_a_run_without_a_rendezvous_says_so(self):
        self.assertIn("no repaint has stopped the CPUs", page.render([("r.json", dict(sample.report(), timeline=[]))]))

    def test_text_and_links_can_be_read_in_both_modes(self):
        light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", root)) for root in re.findall(r":root \{([^}]*)", page.STYLE))
        self.assertIn("color-scheme: light dark", page.STYLE)
        self.assertRegex(page.STYLE, r"a, a:visited \{ color: var\(--link\)")

        def luminance(colour):
            parts = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
            red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue
        # WCAG 2.1, 1.4.3: 4.5 to 1 for text of this size.
        for mode in (light, dark):
            for name in ("ink", "soft", "link", "good", "bad"):
                low, high = sorted((luminance(mode[name]), luminance(mode["paper"])))
                self.assertGreaterEqual((high + 0.05) / (low + 0.05), 4.5, f"{name} on {mode['paper']}")

    def test_errata_are_named_with_what_they_concern(self):
        text = page.render([("r.json", sample.report())])
        for word in ("Errata worked around", "Cortex-A55 &lt;r2p0&gt;", "2441007", "every CPU"):
            self.assertIn(word, text)

    def test_many_cpus_and_several_reports_fit(self):
        text = page.render([("a.json", sample.report()), ("b.json", sample.report(512))])
        self.check(text)
        self.assertIn("2 reports", text)


class Tool(unittest.TestCase):
    def run_tool(self, directory, content):
        source, target = os.path.join(directory, "r.json"), os.path.join(directory, "page.html")
        with open(source, "w", encoding="utf-8") as file:
            file.write(content)
        done = subprocess.run([TOOL, source, "-o", target], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return done.returncode, done.stderr.decode(), os.path.exists(target)

    def test_a_report_becomes_a_page(self):
        with tempfile.TemporaryDirectory() as directory:
            self.assertEqual(self.run_tool(directory, json.dumps(sample.report())), (0, "", True))

    def test_what_is_no_report_is_named(self):
        for content, words in (("{", "not JSON"), ("[]", "not a report"), ('{"version": 2}', "version 1")):
            with tempfile.TemporaryDirectory() as directory:
                status, error, written = self.run_tool(directory, content)
                self.assertEqual((status, written), (2, False))
                self.assertIn(words, error)

    def test_a_page_that_cannot_be_written_is_named(self):
        with tempfile.TemporaryDirectory() as directory:
            source, target = os.path.join(directory, "r.json"), os.path.join(directory, "none", "page.html")
            with open(source, "w", encoding="utf-8") as file:
                json.dump(sample.report(), file)
            done = subprocess.run([TOOL, source, "-o", target], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.assertEqual((done.returncode, done.stderr.decode()), (2, f"report: {target}: No such file or directory\n"))


if __name__ == "__main__":
    unittest.main()
