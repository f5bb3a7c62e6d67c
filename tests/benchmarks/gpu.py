"""Pages a second on a GPU: docrag's encoder, and its whole ingest, beside the loop that libraries show.

python -m tests.benchmarks.gpu [--models colqwen2.5-3b clip-l14] [--pdfs FOLDER] [--skip ingest]

Models of real size with random weights are built once, on the GPU, under --home: what is measured is time and
memory, never what is found.

library N   decode N pages, processor, model, vectors to the CPU; then the next N: colpali-engine's README
docrag      the same pages through encode_pages, in the parts in which an ingest gives them
ingest      `docrag ingest` on the PDFs, from the first file that is stored to the last

busy is the share of the time in which the GPU ran something, as its driver counts it.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.benchmarks.data import data
from tests.benchmarks.large_models import MODELS, build, loop

RENDER_SIDE = 1280
MOST_PIXELS = 50_000_000
PART = 64
"""Pages that an ingest gives to the encoder at once, when a batch takes some seconds."""
SAMPLE_SECONDS = 0.05


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("/tmp/docrag-gpu"), help="[/tmp/docrag-gpu]")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--pdfs", type=Path, help="[../shared/data/dev/pdfs]")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", nargs="+", type=int, default=[4, 16, 32], help="of the library's loop")
    parser.add_argument("--pages", type=int, default=192, help="that are encoded in each turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--skip", nargs="*", choices=["encode", "ingest"], default=[])
    args = parser.parse_args()
    args.pdfs = args.pdfs or data("dev", "pdfs")
    for model in args.models:
        directory = args.home / model
        directory.parent.mkdir(parents=True, exist_ok=True)
        alone(encode, model, directory, args)
        if "ingest" not in args.skip:
            ingest(model, directory, args)
        sys.stdout.flush()


def alone(function: Callable[..., None], *given: Any) -> None:
    """Run in a process of its own, which gives the memory of the GPU back."""
    process = get_context("spawn").Process(target=function, args=given)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{function.__name__} of {given[0]} ended with {process.exitcode}")


def encode(model: str, directory: Path, args: argparse.Namespace) -> None:
    """Build the model where it is not there; encode the same pages in turns by docrag and by the library."""
    if not directory.is_dir():
        build(model, directory, args.device)
    if "encode" in args.skip:
        return

    from docrag.encode.base import EncoderOptions
    from docrag.encode.registry import page_encoder

    encoder: Any = page_encoder(str(directory), EncoderOptions(args.device))
    side = max(RENDER_SIDE, encoder.spec.image_side)
    started = time.perf_counter()
    jpegs = list(render(args.pdfs, side, args.pages))
    each = (time.perf_counter() - started) / len(jpegs)
    print(f"{model}: {len(jpegs)} pages, image side {side}; rendering takes one core {1000 * each:.0f} ms")
    pages = as_pages(jpegs)
    forward = loop(model, directory, args.device)

    def docrag() -> None:
        for start in range(0, len(pages), PART):
            encoder.encode_pages(pages[start : start + PART])

    def library(size: int) -> None:
        for start in range(0, len(jpegs), size):
            forward([decoded(jpeg) for jpeg in jpegs[start : start + size]])

    ways: dict[str, Callable[[], None]] = {"docrag": docrag}
    ways |= {f"library {size}": partial(library, size) for size in args.batches}
    encoder.encode_pages(pages[:PART])
    forward([decoded(jpeg) for jpeg in jpegs[:2]])
    rates, notes = in_turns(ways, len(jpegs), args.turns)
    notes["docrag"] += f", batches of {encoder._page_batches.size}"
    for way, found in rates.items():
        ratio = statistics.median(found) / statistics.median(rates["docrag"])
        told = " ".join(f"{rate:.1f}" for rate in found)
        print(f"  {way:12} {told} pages/s, {ratio:.2f} of docrag; {notes[way]}")


def in_turns(
    ways: dict[str, Callable[[], None]], pages: int, turns: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Pages a second of each way in each turn, and what the GPU told of the last one."""
    import torch

    rates: dict[str, list[float]] = {way: [] for way in ways}
    notes = dict.fromkeys(ways, "")
    for _ in range(turns):
        for way, run in ways.items():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            with watched() as busy:
                started = time.perf_counter()
                run()
                rates[way].append(pages / (time.perf_counter() - started))
            peak = torch.cuda.max_memory_allocated() / 2**30
            notes[way] = f"busy {busy()}, {peak:.1f} GiB with both models"
    return rates, notes


def ingest(model: str, directory: Path, args: argparse.Namespace) -> None:
    """Ingest the folder as a user would; files are told in the order in which they are stored."""
    index = args.home / f"{model}.index"
    shutil.rmtree(index, ignore_errors=True)
    option = "--image" if model.startswith(("clip", "siglip")) else "--late"
    command = [sys.executable, "-m", "docrag", "ingest", str(args.pdfs), option, str(directory)]
    command += ["--index", str(index), "--device", args.device, "--json"]
    stored: list[tuple[float, int]] = []
    summary: dict[str, Any] = {}
    with watched() as busy, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            told = json.loads(line)
            summary = told.get("summary", summary)
            if "pages" in told:
                stored.append((time.perf_counter(), told["pages"]))
    first, last = stored[0][0], stored[-1][0]
    rate = sum(pages for at, pages in stored if at > first + 0.01) / (last - first)
    waited = summary["encoder_waited_seconds"] / summary["seconds"]
    print(
        f"  ingest       {rate:.1f} pages/s once it runs; {summary['pages']} pages in "
        f"{summary['seconds']:.1f} s with loading, encoder waited {waited:.0%}, busy {busy()}"
    )
    shutil.rmtree(index)


@contextmanager
def watched() -> Iterator[Callable[[], str]]:
    """Share of the time in which the GPU ran something; ? where its driver cannot be asked."""
    seen: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        try:
            import pynvml
        except ImportError:
            return
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        while not stop.wait(SAMPLE_SECONDS):
            seen.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: f"{statistics.mean(seen):.0f} %" if seen else "?"
    finally:
        stop.set()
        thread.join()


def render(folder: Path, side: int, count: int) -> Iterator[bytes]:
    """The first pages of the PDFs of a folder as the readers render them, as JPEG."""
    from docrag.common.images import jpeg_within
    from docrag.read.opening import open_source

    for path in sorted(folder.glob("*.pdf")):
        source = open_source(path, ())
        for number in range(1, min(count, source.total_pages) + 1):
            yield jpeg_within(source.picture(number, side, MOST_PIXELS), 85)[0]
            count -= 1
        source.close()


def as_pages(jpegs: Sequence[bytes]) -> list[Any]:
    """Pages as the readers give them."""
    from docrag.types import PageImage
    from tests.samples import make_page

    return [replace(make_page("", number=i + 1), image=PageImage(jpeg, 0, 0)) for i, jpeg in enumerate(jpegs)]


def decoded(jpeg: bytes) -> Any:
    """The picture in RGB."""
    from PIL import Image

    return Image.open(io.BytesIO(jpeg)).convert("RGB")


if __name__ == "__main__":
    main()
