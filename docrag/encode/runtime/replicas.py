"""One model on several devices: one process per device, each of which encodes its share of the pages."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import Any

from docrag.common import spawn
from docrag.encode.base import EncoderOptions, PageEncoder
from docrag.encode.runtime.threads import share_threads
from docrag.errors import DocragError, ModelError
from docrag.types import MultiVector, Page

OpenEncoder = Callable[[str, EncoderOptions], PageEncoder]
"""Makes the encoder of a name on one device; a module-level function, since other processes must find it."""

PASSED_ON = ("encode_query_images", "encode_query_audio", "encode", "label")
"""Methods that only some encoders have; if the encoder has them, they run in this process."""
WATCH_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Replicas:
    """A page encoder on several devices.

    The processes start with the first pages and keep the model until `close`, an error, or the end of this
    process. Queries are few and need no process of their own: this process encodes them, with a model on the
    first device that is loaded for the first query. So searching an index starts no process, and filling one
    loads no model here.

    Args:
        open_encoder: Makes the encoder of one device, in this process and in the others.
        name: The encoder's name; the other processes must be able to find it too.
        options: With two devices or more; one device may be named twice.

    Raises:
        UnknownModel: No encoder has this name; open_encoder may raise other errors.
    """

    def __init__(self, open_encoder: OpenEncoder, name: str, options: EncoderOptions) -> None:
        self._open_encoder = open_encoder
        self._name = name
        self._options = options
        self._local: PageEncoder = open_encoder(name, options.on(options.devices[0]))
        self.spec = self._local.spec
        self._pools: dict[int, Any] = {}
        for method in PASSED_ON:
            if hasattr(self._local, method):
                setattr(self, method, getattr(self._local, method))

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """One multi-vector per page, in order.

        Raises:
            ModelError: A process ended, or failed with an error that is not docrag's.
            DocragError: The error that the encoder of a process raised; all processes are ended then.
        """
        count = min(len(self._options.devices), len(pages))
        try:
            futures = [self._submit(device, pages[device::count]) for device in range(count)]
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in finished:
                _raise_error(future)
        except BaseException:
            self.close()  # the results of the other processes are of no use now
            raise
        shares = [future.result() for future in futures]
        return [shares[i % count][i // count] for i in range(len(pages))]

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """One multi-vector per query, in order, without boxes."""
        return self._local.encode_queries(texts)

    def close(self) -> None:
        """End all processes; the next pages start them again."""
        for pool in self._pools.values():
            pool.stop()
        while self._pools:
            _, pool = self._pools.popitem()
            _stop_and_join(pool)

    def _submit(self, device: int, pages: Sequence[Page]) -> Future[list[MultiVector]]:
        """Let the process of a device, given by its position, encode pages."""
        options = self._options.on(self._options.devices[device])
        args = (self._open_encoder, self._name, options, len(self._options.devices), list(pages))
        try:
            future: Future[list[MultiVector]] = self._pool(device).schedule(_encode, args=args)
        except RuntimeError as error:  # the process has just ended
            raise _lost_process(error) from error
        return future

    def _pool(self, device: int) -> Any:
        """The running process of a device: a pool of its own, since a pool gives its tasks to any worker.

        The process starts with Ctrl-C blocked, so that it does not die of it with a traceback; this process
        ends it instead.
        """
        if device in self._pools and self._pools[device].active:
            return self._pools[device]
        from pebble import ProcessPool

        if device in self._pools:
            _stop_and_join(self._pools.pop(device))
        pool = ProcessPool(1, initializer=_initialise, initargs=(os.getpid(),), context=spawn.context())
        previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._pools[device] = pool
            if not pool.active:  # reading `active` starts the process
                raise ModelError("no process can be started for a device", "use a single --device")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)
        logger.info("started a process for %s on %s", self._name, self._options.devices[device])
        return pool


def _stop_and_join(pool: Any) -> None:
    """End a pool and wait until it has ended."""
    pool.stop()
    try:
        pool.join()
    except KeyError:  # raised by pebble if the process ended by itself in the meantime
        pool.join()


def _raise_error(future: Future[Any]) -> None:
    """Raise the error of a finished task, if it has one."""
    from pebble import ProcessExpired

    error = future.exception()
    if isinstance(error, ProcessExpired | BrokenProcessPool):
        raise _lost_process(error) from error
    if error is not None:
        raise error


def _lost_process(error: BaseException) -> ModelError:
    """The error to raise for a process that has ended."""
    exit_code = getattr(error, "exitcode", None)
    if exit_code is None:
        logger.info("lost the process of a device before it took any pages")
        return ModelError(
            "the process of a device ended before it took any pages",
            "see what the process printed; a single --device needs no process",
        )
    how = f"was killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with {exit_code}"
    logger.info("lost the process of a device: it %s", how)
    return ModelError(
        f"the process of a device {how} while it encoded pages",
        "SIGKILL often means that memory ran out: use fewer devices, a smaller --batch-size or --resolution",
    )


def _initialise(parent: int) -> None:
    """Let this process end on SIGTERM, and with its parent; the initializer of the pool."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # takes effect at once, even within C code
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


@cache
def _replica(open_encoder: OpenEncoder, name: str, options: EncoderOptions, replicas: int) -> PageEncoder:
    """The encoder of this process, which shares the cores with the other replicas."""
    share_threads(replicas)
    return open_encoder(name, options)


def _encode(
    open_encoder: OpenEncoder, name: str, options: EncoderOptions, replicas: int, pages: Sequence[Page]
) -> list[MultiVector]:
    """Encode pages in the process of a device.

    Raises:
        DocragError: Every error is raised as one, since not all others can be sent to the parent process.
    """
    try:
        return _replica(open_encoder, name, options, replicas).encode_pages(pages)
    except DocragError:
        raise
    except Exception as error:
        raise ModelError(f"on {options.device}: {type(error).__name__}: {error}") from error
