"""The page is one file, complete, and safe to open."""

import base64
import html
import re
from html.parser import HTMLParser

from data_contracts.evaluation import Gate
from tasks.reporting.page import render_report
from tasks.reporting.wording import verdict

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40
NAMES = ("on", "off", "<script>alert(1)</script>")
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Balanced(HTMLParser):
    """Collects tags and fails on the first that is closed out of order."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_well_formed_file(make_report):
    """A report that fetches a style sheet is unreadable where it is archived, and phones home."""
    report, _ = make_report(NAMES)
    page = render_report(report, {"reliability": PNG, "confusion_matrix": PNG})
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    for name, value in parser.attributes:
        if name in ("src", "href"):
            assert value.startswith("data:image/png;base64,")
    assert "http" not in re.sub(r"base64,[^\"]+", "", page)
    assert "@import" not in page
    assert page.count(base64.b64encode(PNG).decode()) == 2


def test_names_from_data_are_escaped(make_report):
    """A class name is a user's input: it must not run in a colleague's browser."""
    report, _ = make_report(NAMES, notes=("pairs are <b>synthetic</b>",))
    page = render_report(report, {}, model_name='"><img src=x>')
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "pairs are &lt;b&gt;synthetic&lt;/b&gt;" in page


def test_the_page_says_what_the_report_says(make_report):
    """A page that drops the unwelcome sentence is an advertisement."""
    report, _ = make_report(NAMES)
    page = html.unescape(render_report(report, {}))
    for sentence in verdict(report):
        assert sentence in page
    for row in report.classes.rows:
        assert f"{row.precision:.3f}" in page
    for system in report.systems.values():
        assert system.display in page
    assert "wrong_language 40" in page
    assert "8,500 rows read, 7,748 kept, 51 set aside in quarantine, 701 dropped as copies" in page
    assert "Gates" not in page


def test_gates_are_shown_when_given(make_report):
    """A refused student must not look accepted in the report that travels with it."""
    report, _ = make_report(NAMES)
    gates = [
        Gate(name="size_mb", passed=True, value=7.0, threshold=100.0, detail="fine"),
        Gate(name="gain", passed=False, value=None, threshold=0.0, detail="not measured"),
    ]
    page = render_report(report, {}, gates=gates)
    assert "✓ passed" in page
    assert "✗ refused" in page
    assert "not measured" in page
