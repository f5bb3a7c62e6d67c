"""Time and memory that docrag takes for a page, beside the library whose model it runs.

python -m tests.benchmarks.encode [--models clip-b32 colsmol-256m] [--dtypes float32 bfloat16] [--sides 512]

Models of real size with random weights are built once, under --home. Each side of a comparison has a process
of its own, on which the peak of memory is read; they take turns, batch by batch, on the same rendered pages.

docrag, page    a page as the readers give it: its JPEG is decoded in the time told
docrag, image   the same picture decoded beforehand, which is what the library gets
library         colpali-engine's processor and model, or transformers' CLIPProcessor and CLIPModel

Ratios are of docrag, image to the library: the median over the turns. Times are of a page.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.benchmarks.data import data
from tests.benchmarks.real_size import MODELS, build, load

PDF = ("smoke", "pdfs", "ULTABEAUTY_2023Q4_EARNINGS.pdf")
RENDER_SIDE = 1280
"""What docrag renders at least, whatever the model wants."""
JPEG_QUALITY = 85
MOST_PIXELS = 50_000_000
TOLERATED = 1.05
WAYS = ("docrag, page", "docrag, image", "library")


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison."""

    model: str
    dtype: str
    side: int
    """Pixels on the long side that the model sees; 0 for its own fixed square."""
    turns: int
    batch: int
    """Pages a call; docrag's own choice on a CPU."""


class Taken(NamedTuple):
    """What a batch took."""

    wall: float
    cpu: float
    vectors: int
    """Of all its pages."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("/tmp/docrag-bench"), help="[/tmp/docrag-bench]")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--sides", nargs="+", type=int, default=[512, 1024, 2048], help="of colsmol-256m")
    parser.add_argument("--turns", type=int, help="of each comparison [20 for CLIP; 10, 4, 2 by side]")
    parser.add_argument("--json", action="store_true", help="an object a line instead of the table")
    args = parser.parse_args()
    if not args.json:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before")
        print(HEADER)
    for model in args.models:
        directory = args.home / model
        if not directory.is_dir():
            with worker() as call:
                call(build, model, directory)
        for case in cases(model, args.dtypes, args.sides, args.turns):
            row = compare(case, directory)
            print(json.dumps(row) if args.json else as_line(row), flush=True)
    if not args.json:
        print(f"load {os.getloadavg()[0]:.2f} after")


def cases(model: str, dtypes: Sequence[str], sides: Sequence[int], turns: int | None) -> Iterator[Case]:
    """What is measured of a model; slow cases have few turns."""
    for dtype in dtypes:
        if model == "clip-b32":
            yield Case(model, dtype, 0, turns or 20, batch=4)
        else:
            for side in sides:
                yield Case(model, dtype, side, turns or (10 if side <= 512 else 4 if side <= 1024 else 2), 1)


def compare(case: Case, directory: Path) -> dict[str, Any]:
    """One row: seconds of a page for each way, ratios, and memory for each process."""
    with worker() as ours, worker() as theirs:
        taken: dict[str, list[Taken]] = {way: [] for way in WAYS}
        loaded = [ours(load_docrag, directory, case), theirs(load_library, directory, case)]
        for turn in range(case.turns):
            jpegs = render(case.side, turn * case.batch, case.batch)
            for way in WAYS[turn % 3 :] + WAYS[: turn % 3]:  # none is always first
                ask = theirs if way == "library" else ours
                taken[way].append(ask(RUNS[way], jpegs))
        peaks = [ours(memory, "VmHWM"), theirs(memory, "VmHWM")]
    row: dict[str, Any] = asdict(case)
    for way, each in taken.items():
        seconds = {kind: median(getattr(one, kind) for one in each) / case.batch for kind in ("wall", "cpu")}
        row[way] = {**seconds, "vectors": each[0].vectors // case.batch}
    for name, way in (("ratio", "docrag, image"), ("page_ratio", "docrag, page")):
        pairs = list(zip(taken[way], taken["library"], strict=True))
        row[name] = {kind: median(getattr(a, kind) / getattr(b, kind) for a, b in pairs) for kind in SECONDS}
    for name, (docrag, library) in (("loaded_mb", loaded), ("peak_mb", peaks)):
        row[name] = {"docrag": docrag, "library": library}
    row["load"] = os.getloadavg()[0]
    return row


SECONDS = ("wall", "cpu")
HEADER = (
    f"{'model':14}{'dtype':10}{'side':>5}{'vectors':>8}  {'wall s a page':^24}{'cpu s a page':^24}"
    f"{'ratio':^13}{'with JPEG':^13}{'peak MB':^13}\n"
    f"{'':37}  "
    + f"{'page':>8}{'image':>8}{'library':>8}" * 2
    + f"{'wall':>6}{'cpu':>6} " * 2
    + "  docrag  lib."
)


def as_line(row: dict[str, Any]) -> str:
    """A row of the table; a star where docrag takes more than is tolerated."""
    times = "".join(f"{row[way][kind]:8.3f}" for kind in SECONDS for way in WAYS)
    ratios = " ".join(
        "".join(f"{row[name][kind]:6.3f}" for kind in SECONDS) for name in ("ratio", "page_ratio")
    )
    star = "*" if row["ratio"]["cpu"] > TOLERATED else " "
    peaks = "".join(f"{row['peak_mb'][who]:7.0f}" for who in ("docrag", "library"))
    vectors = f"{row['library']['vectors']:8}"
    return f"{row['model']:14}{row['dtype']:10}{row['side']:5}{vectors}  {times}{ratios}{star}{peaks}"


@contextmanager
def worker() -> Iterator[Callable[..., Any]]:
    """A process that holds one model: calls functions there and waits."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda function, *args: pool.submit(function, *args).result()


def render(side: int, first: int, count: int) -> list[bytes]:
    """Pages of a real document as the readers render them, as JPEG."""
    from docrag.common.images import jpeg_within
    from docrag.read.opening import open_source

    source = open_source(data(*PDF), ())
    longest = max(side, RENDER_SIDE)
    numbers = [(first + i) % source.total_pages + 1 for i in range(count)]
    pictures = [source.picture(number, longest, MOST_PIXELS) for number in numbers]
    source.close()
    return [jpeg_within(picture, JPEG_QUALITY)[0] for picture in pictures]


# What follows runs in the processes that are measured.

held: dict[str, Any] = {}
"""What a process keeps from call to call."""


def load_docrag(directory: Path, case: Case) -> float:
    """Load docrag's encoder and warm it up; MB in use then."""
    from docrag.encode.base import EncoderOptions
    from docrag.encode.registry import page_encoder

    options = EncoderOptions(device="cpu", dtype=case.dtype, resolution=case.side)
    held["encoder"] = page_encoder(str(directory), options)
    run_docrag_images(_first(case))
    return settled()


def load_library(directory: Path, case: Case) -> float:
    """Load the library's model and processor and warm them up; MB in use then."""
    held["forward"] = load(case.model, directory, case.dtype, case.side)
    run_library(_first(case))
    return settled()


def _first(case: Case) -> list[bytes]:
    """A page to warm up with, where that does not take a minute."""
    return render(case.side, 0, 1) if case.side <= 1024 else []


def run_docrag_pages(jpegs: Sequence[bytes]) -> Taken:
    """Pages as the readers give them."""
    from docrag.types import PageImage
    from tests.samples import make_page

    pages = [
        replace(make_page("", number=i + 1), image=PageImage(jpeg, 0, 0)) for i, jpeg in enumerate(jpegs)
    ]
    return timed(lambda: sum(len(one.vectors) for one in held["encoder"].encode_pages(pages)))


def run_docrag_images(jpegs: Sequence[bytes]) -> Taken:
    """The pictures of pages, decoded beforehand."""
    images = decoded(jpegs)
    return timed(lambda: sum(len(one.vectors) for one in held["encoder"].encode_query_images(images)))


def run_library(jpegs: Sequence[bytes]) -> Taken:
    """The same pictures through the library."""
    images = decoded(jpegs)
    return timed(lambda: held["forward"](images) if images else 0)


RUNS = dict(zip(WAYS, (run_docrag_pages, run_docrag_images, run_library), strict=True))


def decoded(jpegs: Sequence[bytes]) -> list[Any]:
    """The pictures in RGB."""
    from PIL import Image

    return [Image.open(io.BytesIO(jpeg)).convert("RGB") for jpeg in jpegs]


def timed(encode: Callable[[], int]) -> Taken:
    """What a call took; it gives the number of vectors."""
    wall, cpu = time.perf_counter(), time.process_time()
    vectors = encode()
    return Taken(time.perf_counter() - wall, time.process_time() - cpu, vectors)


def memory(field: str) -> float:
    """MB of this process: VmRSS now, VmHWM at most; what getrusage says includes the parent's."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def settled() -> float:
    """MB in memory now; the peak is counted from here, without that of loading."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


if __name__ == "__main__":
    main()
