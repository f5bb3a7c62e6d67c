"""Programs that the pages call and that tests cannot run: each checks what it is asked to do.

A test must not install packages, build a virtual environment in seconds or run the test suite inside itself.
`.ci/run` does all three, with the first two blocks of the README as they are written.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

TARGET = re.compile(r"^([\w-]+):", re.MULTILINE)
REQUIREMENT = re.compile(r"(?P<name>\.|[\w.-]+)(\[(?P<extras>[\w,-]+)\])?")


def venv(arguments: list[str]) -> int:
    """`python3 -m venv DIR`: a directory whose programs are those that the session has already."""
    [directory] = arguments
    programs = Path(directory) / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f'export PATH="{programs.absolute()}:$PATH"\n')
    for program in ("docrag", "pip", "python"):
        (programs / program).symlink_to(Path(os.environ["STAND_INS"]) / program)
    return 0


def pip(arguments: list[str]) -> int:
    """`pip install`: the constraints are there, the extras exist, the tests know every package."""
    if arguments[0] != "install":
        return refuse(f"pip {arguments[0]}")
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    wanted = [argument for argument in arguments[1:] if argument != "--no-compile"]
    if wanted[0] == "-c":
        constraints = Path(wanted[1]).read_text()
        wanted = wanted[2:]
    else:
        return refuse("pip install without -c constraints.txt")
    for requirement in wanted:
        match = REQUIREMENT.fullmatch(requirement)
        if match is None:
            return refuse(f"pip install {requirement}")
        extras = set(filter(None, (match["extras"] or "").split(",")))
        if match["name"] == ".":
            unknown = extras - set(project["optional-dependencies"])
        else:
            known = re.search(rf"^{re.escape(match['name'])}==", constraints, re.MULTILINE | re.IGNORECASE)
            unknown = set() if known else {match["name"]}
        if unknown:
            return refuse(f"pip install {requirement}: there is no {', '.join(sorted(unknown))}")
    return 0


def make(arguments: list[str]) -> int:
    """`make TARGET`: the Makefile has the target."""
    targets = set(TARGET.findall(Path("Makefile").read_text()))
    unknown = [target for target in arguments if target not in targets]
    return refuse(f"make {' '.join(unknown)}") if unknown else 0


def refuse(what: str) -> int:
    """Say what a page asks for that does not exist."""
    sys.stderr.write(f"{what}: not in this project\n")
    return 1
