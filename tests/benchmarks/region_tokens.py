"""What `detail="regions"` costs a vision model against `detail="page"`, and whether the answer still shows.

    python -m tests.benchmarks.region_tokens INDEX [--questions 50] [--skip 75]

INDEX holds the dev set (`docrag ingest ../shared/data/dev/pdfs --index INDEX`). Of the questions, those count
whose answer stands word for word on a page that is judged right, at most three times, so that where it stands
is known. The right page is searched for with a filter on it, and what would be sent of it is measured. Margin
and number of regions were chosen on the first 75 questions, which are left out by default:

- tokens by OpenAI's published formula for images (fit into 2,048 squared, the short side down to 768, then
  85 + 170 for each started tile of 512 pixels), and by the one of pixels (width x height / 750, Anthropic's);
- kept: the answer's words stand, in a row, among those words of the page whose middle lies within the crops.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import pymupdf
from PIL import Image

from docrag import Index
from docrag.errors import DocragError
from docrag.search.crops import MOST, crop_boxes, crop_regions, stack
from docrag.types import Box, Hit
from tests.benchmarks.data import data

SEED = 5
MOST_TIMES = 3


@dataclass(frozen=True)
class Question:
    """A question whose answer stands on a page."""

    text: str
    source: str
    file: str
    page: int
    """From 1."""
    answer: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """Tokens of a page, and of its regions."""

    tiles: tuple[int, int]
    pixels: tuple[float, float]
    kept: bool


def tile_tokens(image: Image.Image) -> int:
    """OpenAI's formula for high detail."""
    width, height = image.size
    shrink = min(1, 2048 / max(width, height))
    shrink *= min(1, 768 / (min(width, height) * shrink))
    return 85 + 170 * ceil(width * shrink / 512) * ceil(height * shrink / 512)


def pixel_tokens(image: Image.Image) -> float:
    """Anthropic's formula."""
    return image.width * image.height / 750


def plain_words(text: str) -> list[str]:
    """Words in lower case without what stands around them."""
    return [word for part in text.lower().split() if (word := re.sub(r"^\W+|[^\w%]+$", "", part))]


def times(answer: Sequence[str], words: Sequence[str]) -> int:
    """How often a row of words stands in others."""
    n = len(answer)
    return sum(tuple(words[i : i + n]) == tuple(answer) for i in range(len(words) - n + 1))


def page_words(file: Path, number: int) -> list[tuple[str, Box]]:
    """Words of a page as the text layer has them, in page units."""
    with pymupdf.open(file) as document:
        page = document[number - 1]
        width, height = page.rect.width, page.rect.height
        turned = [(pymupdf.Rect(word[:4]) * page.rotation_matrix, word[4]) for word in page.get_text("words")]
    return [
        (word, (box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height))
        for box, text in turned
        for word in plain_words(text)
    ]


def questions_of(root: Path) -> list[Question]:
    """Those whose answer stands on a right page, in an order by chance."""
    judged: dict[str, list[tuple[str, int]]] = {}
    for line in (root / "qrels.tsv").read_text().splitlines()[1:]:
        name, place, _ = line.split("\t")
        file, _, page = place.rpartition("#")
        judged.setdefault(name, []).append((file, int(page)))
    found = []
    for line in (root / "queries.jsonl").read_text().splitlines():
        row = json.loads(line)
        answer = tuple(plain_words(row["metadata"]["answer"]))
        if len("".join(answer)) < 3:  # "No", "2": they stand anywhere
            continue
        for file, page in judged[row["_id"]]:
            words = [word for word, _ in page_words(root / "pdfs" / file, page)]
            if 1 <= times(answer, words) <= MOST_TIMES:
                found.append(Question(row["text"], row["metadata"]["source"], file, page, answer))
                break
    random.Random(SEED).shuffle(found)
    return found


def hit_of(index: Index, question: Question) -> Hit | None:
    """The right page with the regions that match; None where it is not found."""
    wanted = {"file_name": question.file, "page": question.page}
    return next(iter(index.search(question.text, k=1, filter=wanted)), None)


def within(words: Sequence[tuple[str, Box]], boxes: Sequence[Box]) -> list[str]:
    """Words whose middle lies in one of the boxes."""
    return [
        word
        for word, (left, top, right, bottom) in words
        if any(x0 <= (left + right) / 2 <= x1 and y0 <= (top + bottom) / 2 <= y1 for x0, y0, x1, y1 in boxes)
    ]


def cost(hit: Hit, words: Sequence[tuple[str, Box]], answer: Sequence[str]) -> Cost:
    """What is sent of a page, whole and by its regions."""
    page = hit.image()
    shown = stack(crop_regions(page, hit.regions))
    boxes = crop_boxes([region.box for region in hit.regions[:MOST]]) or [(0.0, 0.0, 1.0, 1.0)]
    return Cost(
        (tile_tokens(page), tile_tokens(shown)),
        (pixel_tokens(page), pixel_tokens(shown)),
        times(answer, within(words, boxes)) > 0,
    )


def told(costs: Sequence[Cost]) -> str:
    """One line of figures."""
    pages, regions = (sum(cost.tiles[i] for cost in costs) for i in (0, 1))
    whole, cut = (sum(cost.pixels[i] for cost in costs) for i in (0, 1))
    kept = statistics.mean(cost.kept for cost in costs)
    return (
        f"{len(costs)} questions: tiles {pages / len(costs):.0f} -> {regions / len(costs):.0f} tokens, "
        f"{1 - regions / pages:.0%} less; pixels/750 {whole / len(costs):.0f} -> {cut / len(costs):.0f}, "
        f"{1 - cut / whole:.0%} less; answer kept {kept:.0%}"
    )


def main() -> None:
    """Measure the defaults of crop_regions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index")
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--skip", type=int, default=75, help="first questions that are left out")
    asked = parser.parse_args()
    root = data("dev")
    questions = questions_of(root)[asked.skip : asked.skip + asked.questions]
    found = []
    with Index.open(asked.index, create=False) as index:
        for question in questions:
            try:
                hit = hit_of(index, question)
            except DocragError as error:
                raise SystemExit(str(error)) from error
            if hit is not None:
                found.append((hit, page_words(root / "pdfs" / question.file, question.page), question.answer))
    print(f"{len(questions) - len(found)} of {len(questions)} pages not found in {asked.index}")
    print(told([cost(*one) for one in found]))


if __name__ == "__main__":
    main()
