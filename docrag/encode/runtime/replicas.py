"""One model on several devices: a process for each, which encodes its share of the pages."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import Any

from docrag.common import spawn
from docrag.encode.base import PageEncoder
from docrag.encode.options import EncoderOptions
from docrag.encode.registry import page_encoder
from docrag.errors import DocragError, ModelError
from docrag.types import MultiVector, Page

PASSED_ON = ("encode_query_images", "encode_query_audio", "encode", "label")
"""What encoders can do beside pages and texts; done in this process, by those that can."""
WATCH_SECONDS = 1.0


class Replicas:
    """A page encoder on several devices.

    Processes start with the first pages and hold the model until `close`, an error, or the end of this
    process. Queries are few and need no process: they are answered here, by a model on the first device that
    is only loaded for them, so that an index that is searched starts none, and one that is filled holds none.

    Args:
        name: Of the encoder, as the registry knows it; a new process must find it too.
        options: With two devices or more; one may be named twice.

    Raises:
        UnknownModel: No encoder goes by that name; and whatever else page_encoder raises.
    """

    def __init__(self, name: str, options: EncoderOptions) -> None:
        self._name = name
        self._options = options
        self._here: PageEncoder = page_encoder(name, options.on(options.devices[0]))
        self.spec = self._here.spec
        self._pools: dict[int, Any] = {}
        vars(self).update({can: getattr(self._here, can) for can in PASSED_ON if hasattr(self._here, can)})

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """One multi-vector a page, in order.

        Raises:
            ModelError: A process ended, or failed in a way that docrag has no name for.
            DocragError: What the encoder of a process raised; all processes are ended then.
        """
        count = min(len(self._options.devices), len(pages))
        try:
            futures = [self._submit(place, pages[place::count]) for place in range(count)]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                _raise(future)
        except BaseException:
            self.close()  # what the others still do is of no use
            raise
        shares = [future.result() for future in futures]
        return [shares[i % count][i // count] for i in range(len(pages))]

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """One multi-vector a query, in order, without boxes."""
        return self._here.encode_queries(texts)

    def close(self) -> None:
        """End all processes; the next pages start them again."""
        for pool in self._pools.values():
            pool.stop()
        while self._pools:
            _join(self._pools.popitem()[1])

    def _submit(self, place: int, pages: Sequence[Page]) -> Future[list[MultiVector]]:
        """Have the process of a device encode pages."""
        options = self._options.on(self._options.devices[place])
        args = (self._name, options, len(self._options.devices), list(pages))
        try:
            future: Future[list[MultiVector]] = self._pool(place).schedule(_encode, args=args)
        except RuntimeError as error:  # it ended just now
            raise _lost(error) from error
        return future

    def _pool(self, place: int) -> Any:
        """The running process of a device; each is a pool of its own, since a pool's tasks go to any worker.

        Processes start with Ctrl-C blocked, so that none dies of it with a traceback: this one ends them.
        """
        if place in self._pools and self._pools[place].active:
            return self._pools[place]
        from pebble import ProcessPool

        if place in self._pools:
            _join(self._pools.pop(place))
        context = spawn.context()
        pool = ProcessPool(1, initializer=_start, initargs=(os.getpid(),), context=context)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._pools[place] = pool
            if not pool.active:  # asking starts it
                raise ModelError("no process can be started for a device", "take a single --device")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pool


def _join(pool: Any) -> None:
    """End a pool and wait until it has."""
    pool.stop()
    try:
        pool.join()
    except KeyError:  # pebble: its process ended of itself meanwhile
        pool.join()


def _raise(future: Future[Any]) -> None:
    """Raise what a finished task raised, if anything."""
    from pebble import ProcessExpired

    error = future.exception()
    if isinstance(error, ProcessExpired | BrokenProcessPool):
        raise _lost(error) from error
    if error is not None:
        raise error


def _lost(error: BaseException) -> ModelError:
    """What to say of a process that is gone."""
    code = getattr(error, "exitcode", None)
    if code is None:
        return ModelError(
            "the process of a device ended before it took any pages",
            "see what the process printed; --device with one name needs no process",
        )
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return ModelError(
        f"the process of a device {how} while it encoded pages",
        "SIGKILL often means that memory ran out: fewer devices, a smaller --batch-size or --resolution",
    )


def _start(parent: int) -> None:
    """Make this process one that ends when it is told to, or with its parent; the pool's initializer."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, also within C code
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


@cache
def _replica(name: str, options: EncoderOptions, replicas: int) -> PageEncoder:
    """The encoder of this process, which shares the cores with the others."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // replicas))
    return page_encoder(name, options)


def _encode(name: str, options: EncoderOptions, replicas: int, pages: Sequence[Page]) -> list[MultiVector]:
    """Encode pages in a process of its own.

    Raises:
        DocragError: Whatever goes wrong, as an error that can cross to the parent; not all others can.
    """
    try:
        return _replica(name, options, replicas).encode_pages(pages)
    except DocragError:
        raise
    except Exception as error:
        raise ModelError(f"on {options.device}: {type(error).__name__}: {error}") from error
