"""The options of commands that read, embed or search: what each is called, and what help says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from docrag.types import CaptionSource, Datatype, KeepPatches, Pooling

LateOption = Annotated[str | None, typer.Option("--late", help="Late-interaction encoder [minilm].")]
ImageOption = Annotated[str | None, typer.Option("--image", help="Single-vector image encoder.")]
TextOption = Annotated[str | None, typer.Option("--text", help="Caption encoder [minilm].")]
CaptionOption = Annotated[
    CaptionSource | None,
    typer.Option("--caption", help="Where captions come from [text]."),
]
CaptionUrlOption = Annotated[
    str | None, typer.Option("--caption-url", help="OpenAI-compatible endpoint of the vision model.")
]
CaptionModelOption = Annotated[
    str | None, typer.Option("--caption-model", help="Name of the vision model there.")
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device", help="Where models compute: auto, cpu, cuda, cuda:1, mps; or several: a,b [auto]."
    ),
]
DtypeOption = Annotated[
    str | None, typer.Option("--dtype", help="auto, float32, bfloat16 or float16 [auto].")
]
BatchSizeOption = Annotated[
    str | None, typer.Option("--batch-size", help="Pages in one pass through a model [auto].")
]
ResolutionOption = Annotated[
    int | None,
    typer.Option("--resolution", help="Pixels on the long side of what the model sees [its own]."),
]
MaxPatchesOption = Annotated[
    int | None, typer.Option("--max-patches", help="Patch vectors that a page may have [the model's own].")
]
KeepPatchesOption = Annotated[
    KeepPatches | None,
    typer.Option("--keep-patches", help="inked leaves out what lies on blank paper [all]."),
]
DatatypeOption = Annotated[
    Datatype | None,
    typer.Option("--datatype", help="How patches are stored: turbo8 takes half of float16 [float16]."),
]
PoolingOption = Annotated[
    Pooling | None,
    typer.Option("--pooling", help="What the first stage of a search compares [rows]."),
]
ImageBaseUrlOption = Annotated[
    str | None,
    typer.Option(
        "--image-base-url",
        help="Where page images are served, for Qdrant's dashboard [as before; http://127.0.0.1:8000].",
    ),
]
PruneOption = Annotated[bool, typer.Option("--prune", help="Forget files of these folders that are gone.")]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Read files that did not change, too: for other captions.")
]
PasswordOption = Annotated[
    list[str] | None, typer.Option("--password", help="For encrypted files; may be repeated.")
]
PageTimeoutOption = Annotated[
    float | None, typer.Option("--page-timeout", help="Seconds a page may take to render [30].")
]
FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="KEY=VALUE",
        help="Only pages whose metadata has this value; repeated means and.",
    ),
]
LookAlikeOption = Annotated[
    Path | None,
    typer.Option("--image", help="Find pages that look like this image; may stand beside a question."),
]
RecordingOption = Annotated[
    Path | None,
    typer.Option("--audio", help="Find pages that go with this recording, where an encoder hears."),
]
