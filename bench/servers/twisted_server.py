"""A Twisted Protocol, on its epoll reactor (its default on Linux)."""

from options import options
from twisted.internet import protocol, reactor

told = options()


class Canned(protocol.Protocol):
    def connectionMade(self):
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data):
        self.transport.write(told.answer)


factory = protocol.Factory.forProtocol(Canned)
factory.noisy = False
reactor.listenTCP(told.port, factory, backlog=1024, interface="127.0.0.1")
reactor.run()
