"""python -m docrag.engine DIRECTORY PIPE [search]: hold a directory until nobody uses it any more.

"search" says that the process is started for a search, so that it loads the models at once.
"""

from __future__ import annotations

import os
import sys

FOR_SEARCH = "search"


def main() -> None:
    """Leave the process that started this one, and run."""
    folder, pipe, for_search = sys.argv[1], int(sys.argv[2]), sys.argv[3:] == [FOR_SEARCH]
    # Forked before anything is imported that starts threads. The parent ends, so that nobody has a child to
    # wait for: the process belongs to no one in particular.
    if os.fork():
        os._exit(0)
    from docrag.engine.run import run

    run(folder, pipe, for_search=for_search)


if __name__ == "__main__":
    main()
