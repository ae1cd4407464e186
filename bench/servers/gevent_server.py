"""gevent's StreamServer."""

from socket import IPPROTO_TCP, TCP_NODELAY

from gevent.server import StreamServer
from options import options

told = options()


def handle(socket, address):
    socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, True)
    try:
        while socket.recv(65536):
            socket.sendall(told.answer)
    except OSError:
        pass


StreamServer(("127.0.0.1", told.port), handle, backlog=1024).serve_forever()
