"""docrag stop: end the process that holds an index."""

from __future__ import annotations

from docrag.cli.console import print_json, read_settings, results
from docrag.cli.options import IndexOption, JsonOption


def stop(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """End the process that holds the index in a directory; whoever uses the index next starts it again."""
    from docrag.operations.stop import stop_engine

    pid = stop_engine(read_settings(index=index))
    if as_json:
        print_json({"stopped": pid})
    elif pid is None:
        results.print("no process holds the index")
    else:
        results.print(f"process {pid} has ended")
