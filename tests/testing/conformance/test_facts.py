from trews.transport.memory import MemorySocket


def test_wrong_addresses_are_noticed(monkeypatch, passes):
    monkeypatch.setattr(MemorySocket, "getpeername", lambda self: "nobody")
    assert not passes("addresses_match")
