import pytest

from docrag.caption.title import TITLE_LIMIT, shorten_to_line, title_of
from docrag.types import Document

HEADLINE = "Maintenance log of the motor vessel Skua, spring overhaul"


def document(name: str, title: str = "", headline: str = "") -> Document:
    return Document("0" * 64, (f"/somewhere/{name}",), 3, title, headline)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("HARBOUR_2022_8K_dated-2022-07-01.pdf", "HARBOUR 2022 8K dated 2022-07-01"),
        ("HARBOUR_2023Q4_EARNINGS.pdf", "HARBOUR 2023 Q4 EARNINGS"),
        ("annualReport2023.pdf", "annual Report 2023"),
        ("handbook-v2.18.0.pdf", "handbook v2.18.0"),
        ("nova_y70.pdf", "nova y70"),
        ("Übersicht Fährverkehr.pdf", "Übersicht Fährverkehr"),
        ("invoice_0e94b4197b10096b1f4c699701570fbf.pdf", "invoice"),
    ],
)
def test_words_of_the_file_name(name: str, title: str) -> None:
    assert title_of(document(name)) == title


@pytest.mark.parametrize(
    "name",
    [
        "0e94b4197b10096b1f4c699701570fbf.pdf",
        "123e4567-e89b-12d3-a456-426614174000.pdf",
        "img_0001.png",
        "IMG_20240301_101500.jpg",
        "scan003.pdf",
        "Scan 2024-03-01.pdf",
        "doc-17.pdf",
        "20240301.pdf",
    ],
)
def test_file_names_given_by_machines_are_ignored(name: str) -> None:
    assert title_of(document(name, "", HEADLINE)) == HEADLINE


@pytest.mark.parametrize(
    "title", ["", "untitled", "Microsoft Word - Document1", "0001018724-18-000005", "Slide 1"]
)
def test_metadata_titles_given_by_machines_are_ignored(title: str) -> None:
    assert title_of(document("ferry_report.pdf", title)) == "ferry report"


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Results of the year", "ferry report: Results of the year"),
        ("Ferry Report", "ferry report"),
        ("Ferry report for 2023", "Ferry report for 2023"),
        ("Microsoft Word - overhaul.docx", "ferry report: overhaul"),
    ],
)
def test_the_metadata_title_is_added_unless_it_repeats_the_name(title: str, expected: str) -> None:
    assert title_of(document("ferry_report.pdf", title)) == expected


def test_the_headline_is_preferred_to_the_metadata() -> None:
    assert title_of(document("ferry.pdf", "Staging 7", HEADLINE)) == f"ferry: {HEADLINE}"
    assert title_of(document("overhaul_of_skua.pdf", "", "Overhaul of Skua")) == "overhaul of skua"


def test_ruled_lines_and_letterspacing_are_dropped_from_the_headline() -> None:
    assert title_of(document("scan1.pdf", "", "R E P O R T ______ Overhaul of Skua")) == "Overhaul of Skua"


def test_without_any_title_a_document_has_its_file_name() -> None:
    assert title_of(document("scan1.pdf", "", "")) == "scan1.pdf"


def test_titles_are_short_and_on_one_line() -> None:
    title = title_of(document("ferry.pdf", "A very long title\n" * 20))
    assert len(title) <= TITLE_LIMIT
    assert "\n" not in title


def test_shorten_cuts_between_words_or_inside_a_word_that_fills_the_line() -> None:
    assert shorten_to_line("one two three", 8) == "one …"
    assert shorten_to_line("x" * 30, 10) == "x" * 9 + "…"
