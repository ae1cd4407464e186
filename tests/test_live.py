"""What is there once is neither copied nor pickled, whatever it is and wherever it is in its life."""

from __future__ import annotations

import copy
import pickle

import pytest

import trews
from trews.testing import wire

WAYS = [
    copy.copy,
    copy.deepcopy,
    *(lambda thing, p=p: pickle.dumps(thing, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)),
]
IDS = ["copy", "deepcopy", *(f"pickle {protocol}" for protocol in range(pickle.HIGHEST_PROTOCOL + 1))]
COPIED = pytest.mark.parametrize("copied", WAYS, ids=IDS)


class Room(trews.Server):
    topic = "news"


def refused(thing, copied, name):
    with pytest.raises(TypeError, match=f"^{name} objects are neither copied nor pickled: .* copy or send the data"):
        copied(thing)


@COPIED
def test_before_they_are_open(copied):
    refused(trews.Connection(), copied, "Connection")
    refused(trews.Datagram(), copied, "Datagram")
    refused(Room(trews.Connection), copied, "Room")
    refused(trews.Client("localhost:4040"), copied, "Client")


@COPIED
def test_a_connection_open_and_closed(copied):
    w = wire(trews.Connection)
    refused(w.connection, copied, "Connection")
    w.eof()
    assert w.connection.is_closed
    refused(w.connection, copied, "Connection")


@COPIED
def test_what_runs(copied):
    async def main():
        async with (
            Room(trews.Connection).listen("tcp:127.0.0.1:0") as server,
            trews.Client(server.endpoints[0]) as client,
        ):
            async with trews.connect("udp:127.0.0.1:9") as datagram:
                refused(server, copied, "Room")
                refused(client, copied, "Client")
                refused(datagram, copied, "Datagram")
            for conn in list(server.connections):
                refused(conn, copied, "Connection")

    trews.run(main())


@COPIED
def test_inside_of_something_else(copied):
    thing = [{"connection": trews.Connection()}]
    if copied is copy.copy:
        assert copied(thing) == thing
    else:
        refused(thing, copied, "Connection")


def test_the_classes_themselves_are_pickled_as_ever():
    for cls in (trews.Connection, trews.Datagram, trews.Server, trews.Client):
        assert pickle.loads(pickle.dumps(cls)) is copy.deepcopy(cls) is cls
