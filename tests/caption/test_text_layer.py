from collections.abc import Sequence

import pytest

from docrag.caption import Captioner, NoCaptioner, TextLayerCaptioner
from docrag.caption.text_layer import CAPTION_LIMIT, text_layer_caption
from docrag.types import Block, Document, Page

BODY = "Passengers on the northern line rose by four per cent, which the new timetable explains. " * 4


def page(*blocks: tuple[str, float], number: int = 1) -> Page:
    """A page with the blocks below each other; sizes in points of a page 800 points high."""
    document = Document("0" * 64, ("harbour_ferries_2023.pdf",), 9)
    step = 1 / (len(blocks) + 1)
    placed = tuple(
        Block(text, (0.1, i * step, 0.9, (i + 0.8) * step), size / 800)
        for i, (text, size) in enumerate(blocks)
    )
    return Page(document, number, str(number), 600, 800, (), placed)


def caption(page: Page) -> str:
    return text_layer_caption(page).replace("\u203a", ">")


def test_larger_letters_are_headings_in_reading_order() -> None:
    text = caption(page(("Revenue by segment", 16), (BODY, 10), ("Freight", 13), (BODY, 10)))
    assert text == "harbour ferries 2023 > Revenue by segment > Freight"


@pytest.mark.parametrize(
    "heading", ["3.2 Results", "Item 7. Controls and procedures", "4 Related work", "A.1 Proofs"]
)
def test_numbered_headings_need_no_larger_letters(heading: str) -> None:
    assert caption(page((BODY, 10), (heading, 10), (BODY, 10))) == f"harbour ferries 2023 > {heading}"


def test_a_numbered_heading_is_cut_from_the_paragraph_behind_it() -> None:
    text = caption(page((f"3.1. Repair of hulls. {BODY}", 10)))
    assert text == "harbour ferries 2023 > 3.1. Repair of hulls"


def test_steps_and_sentences_are_not_headings() -> None:
    text = caption(page(("2. Press the red button, then wait.", 10), (BODY, 10)))
    assert text.startswith("harbour ferries 2023 > 2. Press the red button, then wait. Passengers")


@pytest.mark.parametrize(
    "line",
    [
        "Figure 1: Passengers by month",
        "Fig. 3. Passengers by month",
        "Table 2 Revenue by segment",
        "Chart A: Crew by age",
        "Abbildung 4: Fahrgäste nach Monat",
        "Tabelle 1. Erlöse",
        "Figura 2. Pasajeros por mes",
        "Cuadro 5: Ingresos",
    ],
)
def test_figure_and_table_captions(line: str) -> None:
    assert caption(page((BODY, 10), (line, 9))) == f"harbour ferries 2023. {line}"


def test_a_sentence_that_begins_with_a_figure_is_not_a_caption() -> None:
    assert "Figure 7 shows" not in caption(page((f"4.1 Results\n{BODY}\nFigure 7 shows the rise.", 10)))


def test_two_captions_in_one_block_are_separated() -> None:
    text = caption(page(("Table 1: Revenue\nmillion crowns\nTable 2: Crew", 9), (BODY, 10)))
    assert text == "harbour ferries 2023. Table 1: Revenue million crowns. Table 2: Crew"


def test_headings_do_not_repeat_the_title() -> None:
    assert (
        caption(page(("Harbour Ferries", 20), ("Freight", 14), (BODY, 10)))
        == "harbour ferries 2023 > Freight"
    )


def test_column_headers_of_a_table_are_not_headings() -> None:
    document = Document("0" * 64, ("fares.pdf",), 1)
    left, right = (
        Block("Single Ticket", (0.1, 0.1, 0.3, 0.12), 0.01),
        Block("Return Ticket", (0.5, 0.1, 0.7, 0.12), 0.01),
    )
    body = Block(BODY, (0.1, 0.2, 0.9, 0.5), 0.01)
    assert caption(Page(document, 1, "1", 600, 800, (), (left, right, body))).startswith(
        "fares > Single Ticket Return"
    )


def test_a_running_head_in_the_same_block_does_not_hide_the_heading() -> None:
    assert (
        caption(page(("Table of Contents\nFreight rates", 13), (BODY, 10)))
        == "harbour ferries 2023 > Freight rates"
    )


def test_bullets_are_not_headings() -> None:
    text = caption(page(("\u2022 Larger than the rest", 14), (BODY, 10), ("Freight", 13)))
    assert text == "harbour ferries 2023 > Freight"


def test_a_page_without_headings_gives_its_first_words() -> None:
    assert caption(page(("Table of Contents\n" + BODY, 10))).startswith(
        "harbour ferries 2023 > Passengers on the"
    )


def test_a_page_without_text_gives_its_number() -> None:
    assert caption(page(number=7)) == "harbour ferries 2023, page 7"


def test_captions_are_bounded_and_on_one_line() -> None:
    text = caption(page(*[(f"Table {n}: {BODY}", 10) for n in range(1, 9)]))
    assert 300 < len(text) <= CAPTION_LIMIT
    assert "\n" not in text


def test_blocks_of_unknown_size_are_not_headings() -> None:
    assert caption(page((BODY, 0))).startswith("harbour ferries 2023 > Passengers")


@pytest.mark.parametrize("captioner", [TextLayerCaptioner(), NoCaptioner()])
def test_captioners_give_one_caption_per_page_in_order(captioner: Captioner) -> None:
    pages: Sequence[Page] = [page(number=1), page(number=2)]
    texts = [caption.text for caption in captioner.caption(pages)]
    assert texts == ["harbour ferries 2023, page 1", "harbour ferries 2023, page 2"]
    assert captioner.caption([]) == []
