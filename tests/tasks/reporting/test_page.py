"""The page is one file, complete, and safe to open."""

import base64
import html
import re
from html.parser import HTMLParser

from data_contracts.evaluation import Course, Curve, Gate, LanguageAgreement, Learning
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


def test_the_page_shows_the_plots_of_this_problem(make_report):
    """A curve that was drawn and is nowhere to be seen."""
    report, _ = make_report(NAMES)
    curve = Curve(
        name="found_within",
        title="Found within",
        caption="Of ten.",
        x="looked at",
        x_is_share=False,
        y="found",
        points={"student": ((1, 0.5), (10, 0.75))},
    )
    report = report.model_copy(update={"curves": (curve,)})
    page = render_report(report, {"found_within": PNG, "parts": PNG, "classes": PNG})
    assert page.count(base64.b64encode(PNG).decode()) == 3
    assert "<h3>Found within</h3>" in page
    assert "Of ten." in page


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
    assert "further rows" not in page
    drawn = report.data[1].model_copy(update={"rows_not_taken": 91_000})
    report = report.model_copy(update={"data": (report.data[0], drawn)})
    page = render_report(report, {})
    assert "91,000 further rows of their files are none of these sources (where, max_rows)" in page
    assert "Mended" not in page
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


def test_what_looks_wrong_stands_on_the_page_before_the_results(make_report):
    """A collapsed student behind a table of good-looking figures, or told in a log nobody kept."""
    report, _ = make_report(NAMES)
    learning = Learning(
        first_step=1,
        best_step=2,
        last_step=3,
        shares=(Course(name="kd", first=0.5, best=0.61, last=0.7),),
        drift=(Course(name="peer_1_kl", first=0.1, best=0.2345, last=0.3),),
    )
    found = (LanguageAgreement(language="en", rows="rows", num_rows=7, agreement=0.4321),)
    update = {
        "warnings": ("the teacher is <saturated>: raise the temperature",),
        "learning": learning,
        "agreement_by_language": found,
    }
    page = render_report(report.model_copy(update=update), {})
    assert "The teacher is &lt;saturated&gt;: raise the temperature." in page
    assert page.index("What to look at") < page.index("<h2>Results</h2>")
    for shown in ("61.0", "0.2345", "43.2", "How the student learned", "Agreement by language"):
        assert shown in page
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    plain = render_report(report, {})
    for absent in ("What to look at", "How the student learned", "Agreement by language"):
        assert absent not in plain


def test_a_report_without_answers_to_compare_still_tells_of_languages(make_report):
    """Label sets and spans have no class to agree on by name, but languages they have."""
    report, _ = make_report(NAMES)
    found = (LanguageAgreement(language="en", rows="rows", num_rows=7, agreement=0.4321),)
    page = render_report(
        report.model_copy(update={"diagnostics": None, "agreement_by_language": found}), {}
    )
    assert "Teacher signals and what the student took from them" in page
    assert "43.2" in page
