"""Functions that misbehave in a decode child, as a decoder might."""

from __future__ import annotations

import mmap
import os
import signal
import time

from restore.errors import UnsupportedMedia


def answer(channel, payload):
    channel.send({"t": "answer", "pid": os.getpid(), **payload})


def crash(channel, payload):
    os.kill(os.getpid(), getattr(signal, payload["signal"]))


def hang(channel, payload):
    channel.send({"t": "answer", "pid": os.getpid()})
    time.sleep(600)


def spin(channel, payload):
    while True:
        pass


def devour(channel, payload):
    bytearray(payload["bytes"])
    channel.send({"t": "answer"})


def write(channel, payload):
    with open(payload["path"], "wb") as file:  # noqa: PTH123
        file.write(b"x" * 4096)
    channel.send({"t": "answer"})


def fail(channel, payload):
    raise UnsupportedMedia("what came", "what was expected", "What to do.")


def stumble(channel, payload):
    raise KeyError("a mistake of ours")


def babble(channel, payload):
    channel._sock.sendall(b"\xff\xff\xff\x7f and no message")
    time.sleep(600)


def reserve(channel, payload):
    mmap.mmap(-1, payload["bytes"], flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)
    channel.send({"t": "answer"})
