"""python -m docrag.engine DIRECTORY PIPE: hold a directory until nobody uses it any more."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Leave the process that started this one, and run."""
    folder, pipe = sys.argv[1], int(sys.argv[2])
    # Forked before anything is imported that starts threads. The parent ends, so that nobody has a child to
    # wait for: the process belongs to no one in particular.
    if os.fork():
        os._exit(0)
    from docrag.engine.run import run

    run(folder, pipe)


if __name__ == "__main__":
    main()
