"""A Python that has already imported docrag and forks for every command of a documentation page.

Importing docrag and its libraries takes about five seconds of CPU time, and most commands of the pages take a
third of a second. So the shell of a page finds programs that hand their arguments, environment, working
directory and streams to a server, which answers each from a fork of itself. This file is both sides:

    warm.py serve SOCKET            import everything, then answer until terminated
    warm.py SOCKET PROGRAM ARGS...  run a program and end with its exit code
"""

import json
import os
import signal
import socket
import sys

PRELOADED = (
    "colpali_engine",
    "docrag.cli.demo",
    "docrag.cli.evaluate",
    "docrag.cli.ingest",
    "docrag.cli.search",
    "docrag.cli.status",
    "docrag.cli.stop",
    "docrag.demo",
    "docrag.encode.models.minilm",
    "docrag.index.index",
    "docrag.index.one_search",
    "docrag.ingest.sync",
    "docrag.operations.transfer",
    "docrag.search.answer",
    "docrag.store.local.remote",
    "docrag.store.local.store",
    "onnxruntime",
    "pymupdf",
    "qdrant_client",
    "rich.table",
    "sentence_transformers",
    "torch",
    "transformers.models.clip.modeling_clip",
)


def ask(address: str, program: str, arguments: list[str]) -> int:
    """Have the server run a program with the streams of this process; the program's exit code."""
    request = json.dumps([program, arguments, os.getcwd(), dict(os.environ)]).encode()  # noqa: PTH109
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [len(request).to_bytes(4, "big")], [0, 1, 2])
        connection.sendall(request)
        code = connection.recv(4)
    return int(code) if code else 70


def serve(address: str) -> None:
    """Import what commands need, then answer each request from a fork."""
    import importlib
    import tempfile

    from docrag.encode.checkpoints.torchvision import mend_torchvision

    mend_torchvision()  # before transformers is imported, as docrag does
    for module in PRELOADED:
        importlib.import_module(module)
    tempfile.tempdir = None  # every fork finds its own TMPDIR
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        while True:
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                answer(connection)
            connection.close()


def answer(connection: socket.socket) -> None:
    """Run one program in this fork, send its exit code and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(connection, 4, 3)
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        request += connection.recv(1 << 16)
    program, arguments, directory, environment = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    code = run(program, arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    connection.sendall(str(code).encode())
    os._exit(code)


def run(program: str, arguments: list[str]) -> int:
    """Run a program in this process; its exit code."""
    import traceback

    from tests.docs import stand_ins

    sys.argv = [program, *arguments]
    try:
        if program == "python":
            run_python(arguments)
        elif program == "docrag":
            from docrag.cli import main

            main()
        else:
            return int(getattr(stand_ins, program)(arguments))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


def run_python(arguments: list[str]) -> None:
    """`python FILE ARGS...` or `python -m MODULE ARGS...`."""
    import runpy

    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))  # noqa: PTH100, PTH120
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[2], sys.argv[3:]))
