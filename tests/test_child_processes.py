"""Messages between a process and its child, where either ends at any point."""

import socket
import struct
from multiprocessing.connection import Connection

import numpy as np
import pytest

from impasto import child_processes


def pair() -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair()
    return Connection(ours.detach()), theirs


@pytest.mark.parametrize(
    "sent", [b"", struct.pack("!i", 100)[:2], struct.pack("!i", 100), struct.pack("!i", 100) + b"x"]
)
def test_an_end_anywhere_in_a_message_is_an_end(sent: bytes) -> None:
    connection, theirs = pair()
    theirs.sendall(sent)
    theirs.close()
    with connection, pytest.raises(EOFError), child_processes._ended_is_eof():
        child_processes._receive(connection)


def test_an_end_between_the_parts_of_a_message_is_an_end() -> None:
    connection, theirs = pair()
    with connection, Connection(theirs.detach()) as other:
        other.send([1 << 20])
        other.send_bytes(b"x" * 1000)
        other.close()
        with pytest.raises(EOFError), child_processes._ended_is_eof():
            child_processes._receive(connection)


def test_messages_arrive_as_they_were_sent() -> None:
    connection, theirs = pair()
    message = {"frame": np.arange(60_000, dtype=np.uint8).reshape(100, 200, 3), "index": 7}
    with connection, Connection(theirs.detach()) as other:
        child_processes._send(other, message)
        got = child_processes._receive(connection)
    assert got["index"] == 7 and np.array_equal(got["frame"], message["frame"])
