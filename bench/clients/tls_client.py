"""A client of TLS servers: `tls_client.py handshakes|bulk PORT SECONDS CERTIFICATE SIZE`. Prints names and numbers.

One connection at a time. Each handshake is a full one: no session is taken up again. What the client costs is of no
matter, it is on another core; the server's time is what counts.
"""

from __future__ import annotations

import socket
import ssl
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connected(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """After the handshake, with the certificate verified."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(sock, server_hostname="localhost")


def handshake(port: int, context: ssl.SSLContext) -> None:
    """Connect, ask once, end in order."""
    with connected(port, context) as sock:
        sock.sendall(REQUEST)
        if not sock.recv(65536):
            raise ConnectionError("no answer")
        try:
            sock.unwrap()
        except OSError:
            pass  # the server has closed already


def swallow(sock: ssl.SSLSocket, size: int, into: bytearray) -> None:
    """Ask once, and take what comes: the head of nginx's answer comes on top of `size` bytes."""
    sock.sendall(REQUEST)
    head = sock.recv(4)
    missing = size - len(head)
    if head.startswith(b"HTTP"):
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        missing = size
    while missing > 0:
        got = sock.recv_into(into, min(missing, len(into)))
        if not got:
            raise ConnectionError("the connection ended")
        missing -= got


def main(what: str, port: int, seconds: float, certificate: str, size: int) -> None:
    """Work for so many seconds, and say how much was done."""
    context = ssl.create_default_context(cafile=certificate)
    into = bytearray(256 * 1024)
    sock = connected(port, context) if what == "bulk" else None
    times = []
    start = begun = time.perf_counter()
    while begun < start + seconds:
        if sock:
            swallow(sock, size, into)
        else:
            handshake(port, context)
        ended = time.perf_counter()
        times.append(ended - begun)
        begun = ended
    if sock:
        sock.close()
    times.sort()
    print("requests", len(times))
    print("seconds", begun - start)
    print("p50", times[len(times) // 2] * 1e6)
    print("p99", times[len(times) * 99 // 100] * 1e6)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
