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
        for word in ("<u>", "<b>", "<i>", "<value>"):
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
                self.assertEqual((status, written), (1, False))
                self.assertIn(words, error)


if __name__ == "__main__":
    unittest.main()
