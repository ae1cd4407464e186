"""Echo of datagrams: a plain blocking socket, the least that Python can do."""

import socket

from options import options

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", options().port))
while True:
    data, address = sock.recvfrom(65536)
    sock.sendto(data, address)
