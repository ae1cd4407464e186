"""The header of the PROXY protocol, versions 1 and 2: whom a proxy speaks for, said before the first byte.

`cut` tells how many bytes belong to it, so that not one more need be taken from the socket, and reads it. Bytes only:
who is trusted, and how long to wait, is `transport.proxied`'s.

Source: HAProxy's proxy-protocol.txt, sections 2.1 and 2.2.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TypeAlias

MAX_HEADER = 4096  # bytes in all; the specification has 107 for version 1, and means 536 to be enough for version 2

Address: TypeAlias = "tuple[str, int] | str"  # of TCP, or the path of a Unix socket
Ends: TypeAlias = "tuple[Address, Address] | None"

_MAX_LINE = 107
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16  # bytes of version 2 before the addresses
_PORT = "(0|[1-9][0-9]{0,4})"
_FIELDS = re.compile(rf"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) {_PORT} {_PORT}\r\n")
_UNSPEC, _INET, _INET6, _UNIX = range(4)  # families of version 2, and how long their two addresses are
_LENGTHS = (0, 12, 36, 216)
_STREAM, _DGRAM = 1, 2


def cut(data: bytes) -> tuple[int, bool, Ends]:
    """What can be said of a connection's first bytes.

    Args:
        data: all that has arrived so far, or as much of it as is known.

    Returns:
        How many of them surely belong to the header; whether it is complete; and then its `(source, destination)`,
        or None where it says that the connection's own addresses are the right ones (LOCAL, UNKNOWN).

    Raises:
        ValueError: it is no header, whatever may follow; with a clause that says what was wrong.
    """
    if data.startswith(_SIGNATURE[: len(data) or 1]):
        return _cut_binary(data)
    return _cut_line(data)


def _cut_line(data: bytes) -> tuple[int, bool, Ends]:
    if not b"PROXY ".startswith(data[:6]):
        raise ValueError("it does not begin as a PROXY header does")
    end = data.find(b"\n", 0, _MAX_LINE) + 1
    if end:
        return end, True, _read_line(data[:end])
    if len(data) >= _MAX_LINE:
        raise ValueError(f"the line is longer than {_MAX_LINE} bytes")
    return len(data), False, None


def _read_line(line: bytes) -> Ends:
    if not line.endswith(b"\r\n"):
        raise ValueError("the line does not end with CR LF")
    if re.fullmatch(rb"PROXY UNKNOWN(?: .*)?\r\n", line, re.DOTALL):
        return None  # 2.1: what follows is to be ignored
    fields = _FIELDS.fullmatch(line.decode("latin-1"))
    if not fields:
        raise ValueError("the line is not of the form 'PROXY TCP4 source destination port port'")
    version, source, destination, source_port, destination_port = fields.groups()
    read = ipaddress.IPv4Address if version == "4" else ipaddress.IPv6Address
    try:
        hosts = [_shown(read(text)) for text in (source, destination)]
    except ValueError:
        raise ValueError(f"an address in the line is not one of IPv{version}") from None
    ports = int(source_port), int(destination_port)
    if max(ports) > 65535:
        raise ValueError("a port in the line is above 65535")
    return (hosts[0], ports[0]), (hosts[1], ports[1])


def _cut_binary(data: bytes) -> tuple[int, bool, Ends]:
    if len(data) > 12 and data[12] not in (0x20, 0x21):
        raise ValueError(f"the version and command are 0x{data[12]:02x}, not 0x20 or 0x21")
    if len(data) > 13 and data[12] == 0x21 and (data[13] >> 4 > _UNIX or data[13] & 15 > _DGRAM):
        raise ValueError(f"the family and protocol 0x{data[13]:02x} are not known")
    if len(data) < _FIXED:
        return len(data), False, None
    end = _FIXED + int.from_bytes(data[14:16])
    if end > MAX_HEADER:
        raise ValueError(f"it says that it is {end} bytes long, the most is {MAX_HEADER}")
    if len(data) < end:
        return len(data), False, None
    return end, True, _read_binary(data[13], data[_FIXED:end]) if data[12] & 1 else None


def _read_binary(kind: int, block: bytes) -> Ends:
    family, protocol = kind >> 4, kind & 15
    if protocol == _DGRAM:
        raise ValueError("it is about datagrams")
    length = _LENGTHS[family]
    if len(block) < length:
        raise ValueError(f"its addresses are {len(block)} bytes and not {length}")
    _check_vectors(block[length:])
    if _UNSPEC in (family, protocol):
        return None
    if family == _UNIX:
        source, destination = _path(block[:108]), _path(block[108:216])
        return (source, destination) if source else None  # a client without a name has nothing to tell
    size = (length - 4) // 2
    hosts = [_shown(ipaddress.ip_address(block[at : at + size])) for at in (0, size)]
    ports = block[2 * size : length]
    return (hosts[0], int.from_bytes(ports[:2])), (hosts[1], int.from_bytes(ports[2:]))


def _check_vectors(rest: bytes) -> None:
    """2.2: type, length, value, again and again. None is of use here.

    The checksum among them is not computed: TCP has one, and 4 KiB of CRC32C are milliseconds in Python.
    """
    at = 0
    while at < len(rest):
        at += 3 + int.from_bytes(rest[at + 1 : at + 3])
    if at > len(rest):
        raise ValueError("what follows its addresses is cut off")


def _shown(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As sockets have it, but one host has one name: an address mapped from IPv4 is that."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _path(field: bytes) -> str:
    if field[:1] == b"\0":
        name = field[1:].rstrip(b"\0")
        return "@" + name.decode("utf-8", "backslashreplace") if name else ""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
