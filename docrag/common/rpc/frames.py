"""Messages on a socket: a header, and buffers of raw bytes that are neither copied nor escaped.

A message is a prefix (4 bytes that name the format, the length of the header, the number of buffers, and the
length of each buffer), then the header, then the buffers. Each buffer is filled up to a multiple of 16 bytes,
so that all begin where arrays of any type may begin.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

MAGIC = b"drg1"
_PREFIX = struct.Struct("!4sII")
_LENGTH = struct.Struct("!Q")
_ALIGNMENT = 16
_MAX_HEADER = 2**30
_MAX_BUFFERS = 2**22
_MAX_BODY = 2**36
"""Bounds that no message comes near, so that a broken prefix is not taken for a request of memory."""
_JOIN_BELOW = 2**16
"""Buffers smaller than this are joined before they are sent: a system call costs more than the copy."""

Buffer = bytes | bytearray | memoryview


class ConnectionLost(Exception):
    """Raised when the other process has ended or closed the connection, or sends something else."""


def send_message(connection: socket.socket, header: bytes, buffers: Sequence[Buffer]) -> None:
    """Send one message.

    Raises:
        ConnectionLost: The other process is gone.
    """
    small = bytearray(_PREFIX.pack(MAGIC, len(header), len(buffers)))
    for buffer in buffers:
        small += _LENGTH.pack(len(buffer))
    small += header
    try:
        for buffer in buffers:
            if len(buffer) < _JOIN_BELOW:
                small += buffer
            else:
                connection.sendall(small)
                connection.sendall(buffer)
                small = bytearray()
            small += bytes(_padding(len(buffer)))
        if small:
            connection.sendall(small)
    except OSError as error:
        raise ConnectionLost(str(error)) from error


def receive_message(connection: socket.socket) -> tuple[bytearray, list[memoryview]]:
    """Wait for one message; returns its header and its buffers, which can be written to.

    Raises:
        ConnectionLost: The other process is gone, or what it sends is not a message.
    """
    magic, header_length, count = _PREFIX.unpack(_receive(connection, _PREFIX.size))
    if magic != MAGIC or header_length > _MAX_HEADER or count > _MAX_BUFFERS:
        raise ConnectionLost("the other process does not send docrag's messages")
    packed = _receive(connection, _LENGTH.size * count)
    lengths = [length for (length,) in _LENGTH.iter_unpack(packed)]
    size = sum(length + _padding(length) for length in lengths)
    if size > _MAX_BODY:
        raise ConnectionLost("the other process announces a message without measure")
    header = _receive(connection, header_length)
    body = memoryview(_receive(connection, size))
    buffers = []
    start = 0
    for length in lengths:
        buffers.append(body[start : start + length])
        start += length + _padding(length)
    return header, buffers


def _padding(length: int) -> int:
    """How many bytes follow a buffer of this length."""
    return -length % _ALIGNMENT


def _receive(connection: socket.socket, length: int) -> bytearray:
    content = bytearray(length)
    view = memoryview(content)
    received = 0
    while received < length:
        try:
            count = connection.recv_into(view[received:])
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        if not count:
            raise ConnectionLost("the other process has closed the connection")
        received += count
    return content
