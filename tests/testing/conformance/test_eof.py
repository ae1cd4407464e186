from trews.connection import Connection
from trews.transport.memory import MemorySocket


def test_an_end_that_does_not_arrive_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(MemorySocket, "shutdown", lambda self, how: None)
    assert not passes("a_handler_answers_after_the_peers_fin")


def test_closing_at_once_at_the_peers_end_is_noticed(monkeypatch, passes):
    eof_received = Connection.eof_received

    def hasty(self):
        eof_received(self)
        self.close()

    monkeypatch.setattr(Connection, "eof_received", hasty)
    assert not passes("half_close_goes_on_after_the_peers_fin")
