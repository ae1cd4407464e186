"""The contexts of `tls:` endpoints, made from their options: of servers, renewed when the files change; of clients.

Whatever a context is made from is the endpoint's; no two endpoints that differ in `verify=` or another option
share one. Not here: reading files (`pem`), handshakes (the transports), what their errors mean (`tls_errors`).
It imports ssl, so it is imported where the first `tls:` endpoint is used.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import ssl
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trews.errors import ConnectError, EndpointError, ListenError, sentence
from trews.transport.pem import File, Pair, PemError, Stamps, identity, load_authorities, load_pair, stamps_of
from trews.transport.tls_errors import explain

if TYPE_CHECKING:
    import asyncio

    from trews.endpoint import Endpoint

__all__ = ["ServerContext", "asked_for", "client_context", "explain"]

logger = logging.getLogger("trews")

LOOK_EVERY = 2.0  # seconds; renewed files are in use within 5
CACHED = 64  # contexts of clients, in a process

_FOR_CLIENTS = ("ca", "verify", "server_name")
_FOR_SERVERS = ("client_ca", "client_cert")
_PLAIN_NAME = re.compile(r"[a-z0-9_.:-]{1,253}")  # of what a client may ask for: "\x1b[31m" is not a host


@dataclass(frozen=True, slots=True)
class _Material:
    """The options of an endpoint that its context is made from; hashable."""

    pairs: tuple[Pair, ...]
    authorities: File | None
    alpn: tuple[str, ...]
    verify: bool

    def files(self) -> list[File]:
        named = [file for pair in self.pairs for file in (pair.cert, pair.key)]
        return [*named, self.authorities] if self.authorities else named


class ServerContext:
    """The certificates of one `tls:` endpoint, as an `ssl.SSLContext` that is renewed when the files change.

    A certificate that has expired, or is not valid yet, is served all the same, with a warning in the log: to refuse
    it would take down those clients too that do not mind.

    Args:
        endpoint: of kind `tls`, for a server.

    Raises:
        ListenError: a file is missing, cannot be read, or does not fit the other.
        EndpointError: the options make no sense for a server.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._shown = endpoint.shown
        self._needs_client_cert = endpoint.get("client_cert") != "optional"
        self._material = _server_material(endpoint)
        self._handle: asyncio.TimerHandle | None = None
        self._refused: Stamps | None = None
        # Looked at before they are read: what changes meanwhile is then found at the next look.
        self._stamps = stamps_of(self._material.files())
        try:
            self._context = self._load()
        except PemError as exc:
            raise ListenError(f"cannot listen on {self._shown}: {exc}") from None

    @property
    def context(self) -> ssl.SSLContext:
        """For the next handshake. Connections keep the one that they began with."""
        return self._context

    def check(self) -> None:
        """Look at the files, and use them from now on if they have changed.

        What cannot be used is told to the log, once, and tried again at each look: a certificate whose
        key has not been written yet is the usual case. The old ones stay in use meanwhile. Never raises.
        """
        stamps = stamps_of(self._material.files())
        if stamps == self._stamps:
            self._refused = None
            return
        try:
            self._context = self._load()
        except Exception as exc:  # whatever it is, the server goes on with what it has
            if stamps != self._refused:
                why = exc if isinstance(exc, PemError) else repr(exc)
                logger.warning("%s: the changed certificates cannot be used, the old stay: %s", self._shown, why)
            self._refused = stamps
            return
        self._stamps, self._refused = stamps, None
        logger.info("%s: the certificates have changed, new connections get the new ones", self._shown)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Check every 2 s, until `close`. A look takes 3 µs a file, a change 0.7 ms a certificate, on the loop."""
        self.close()
        self._handle = loop.call_later(LOOK_EVERY, self._look, loop)

    def close(self) -> None:
        """Do not look any more. What has been loaded stays good."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = loop.call_later(LOOK_EVERY, self._look, loop)
        self.check()

    def _load(self) -> ssl.SSLContext:
        first: ssl.SSLContext | None = None
        # None stands for the first: a context that knows itself would be kept alive by that.
        by_name: dict[str, ssl.SSLContext | None] = {}
        for pair in self._material.pairs:
            context = self._empty()
            load_pair(context, pair)
            found = identity(pair.cert)
            if found is None and len(self._material.pairs) > 1:
                raise PemError(f"the names in {pair.cert} cannot be read, so it cannot be one of several")
            if found and (trouble := found.trouble()):
                logger.warning("%s: the certificate in %s %s: clients will refuse it", self._shown, pair.cert, trouble)
            for name in found.names if found else ():
                by_name.setdefault(name, context if first else None)
            first = first or context
        if first is None:
            raise PemError("there is no certificate")
        first.sni_callback = _Choice(by_name)
        return first

    def _empty(self) -> ssl.SSLContext:
        """A context without a certificate. All of an endpoint are alike in the rest, for OpenSSL changes
        from one to another in the middle of a handshake, and takes some of the rest along and some not."""
        context = _new(ssl.PROTOCOL_TLS_SERVER, self._material)
        if self._material.authorities:
            load_authorities(context, self._material.authorities)
            context.verify_mode = ssl.CERT_REQUIRED if self._needs_client_cert else ssl.CERT_OPTIONAL
        context.options |= ssl.OP_NO_RENEGOTIATION
        return context


class _Choice:
    """Called by OpenSSL when a ClientHello has come: the context of the name that it asks for (RFC 6066 §3).

    A name that no certificate has, or none, gets the first certificate; the client then says what it thinks of it.
    """

    __slots__ = ("_by_name",)

    def __init__(self, by_name: dict[str, ssl.SSLContext | None]) -> None:
        self._by_name = by_name

    def __call__(self, tls: Any, name: str | None, _context: ssl.SSLContext) -> None:
        asked = (name or "").lower().rstrip(".")
        if not _PLAIN_NAME.fullmatch(asked):
            return
        tls.server_name = asked
        wildcard = "*." + asked.partition(".")[2]  # RFC 9525 §6.3: for one label
        found = self._by_name.get(asked if asked in self._by_name else wildcard)
        if found is not None:
            tls.context = found


def asked_for(tls: ssl.SSLObject | ssl.SSLSocket) -> str | None:
    """On a server, the name that the client asked for: letters, digits and `-_.:`; None if it did not."""
    return getattr(tls, "server_name", None)


_contexts: OrderedDict[_Material, tuple[Stamps, ssl.SSLContext]] = OrderedDict()
_lock = threading.Lock()  # loops may run in several threads


def client_context(endpoint: Endpoint) -> tuple[ssl.SSLContext, str]:
    """The context for a connection to `endpoint`, and the name to ask for and to verify.

    The server is verified unless the endpoint says `verify=no`, which is told to the log each time. Contexts
    are kept: the system's authorities take 24 ms to load. A changed file makes a new one.

    Raises:
        EndpointError: the options make no sense for a client.
        ConnectError: a file is missing, cannot be read, or does not fit the other.
    """
    context, name = check_client(endpoint)
    if context.verify_mode == ssl.CERT_NONE:
        logger.warning(
            "%s: verify=no, so whoever is between can pretend to be the server, and read and change all",
            endpoint.shown,
        )
    return context, name


def check_client(endpoint: Endpoint) -> tuple[ssl.SSLContext, str]:
    """As `client_context`, for an endpoint that is not connected to yet: without the warning."""
    name, material = _server_name(endpoint), _client_material(endpoint)
    try:
        return _cached(material), name
    except PemError as exc:
        raise ConnectError(endpoint.shown, [(endpoint.shown, str(exc))]) from None


def _cached(material: _Material) -> ssl.SSLContext:
    stamps = stamps_of([*material.files(), *_system_store(material)])
    with _lock:
        kept = _contexts.get(material)
        if kept and kept[0] == stamps:
            _contexts.move_to_end(material)
            return kept[1]
    context = _new(ssl.PROTOCOL_TLS_CLIENT, material)
    if not material.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif material.authorities:
        load_authorities(context, material.authorities)
    else:
        # OpenSSL says nothing of a file that is not there, and then trusts nobody, or others.
        named = os.environ.get("SSL_CERT_FILE")
        if named and not os.path.exists(named):
            logger.warning("SSL_CERT_FILE=%s: no such file, so the authorities in it are not trusted", named)
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    for pair in material.pairs:
        load_pair(context, pair)
    with _lock:
        _contexts[material] = stamps, context
        _contexts.move_to_end(material)
        if len(_contexts) > CACHED:
            _contexts.popitem(last=False)
    return context


def _system_store(material: _Material) -> list[File]:
    if material.authorities or not material.verify:
        return []
    # Its file only: those of its directory are read by OpenSSL when it wants them.
    path = ssl.get_default_verify_paths().cafile
    return [File("SSL_CERT_FILE", path, path)] if path else []


def _new(protocol: ssl._SSLMethod, material: _Material) -> ssl.SSLContext:
    """What contexts of both sides have in common. It trusts nobody yet, and a client's verifies."""
    context = ssl.SSLContext(protocol)
    # The system may ask for more than this, but not for less.
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    # An end without a close_notify is an attack or an accident, and not the end.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    # As ssl.create_default_context has it from Python 3.13 on; here on all, so that what is refused does not depend
    # on that. ca= may then name an intermediate authority, or the very certificate.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    if protocol == ssl.PROTOCOL_TLS_CLIENT:
        context.hostname_checks_common_name = False  # RFC 9525 §2
    if material.alpn:
        context.set_alpn_protocols(list(material.alpn))
    key_log = os.environ.get("SSLKEYLOGFILE")  # for Wireshark, as everywhere else
    if key_log and not sys.flags.ignore_environment:
        try:
            context.keylog_filename = key_log
        except OSError as exc:
            raise PemError(f"SSLKEYLOGFILE={key_log}: {sentence(exc)}") from None
    return context


# -- options


def _server_material(endpoint: Endpoint) -> _Material:
    """What a server's context is made from; raises EndpointError."""
    _refuse(endpoint, _FOR_CLIENTS, "clients")
    if endpoint.get("cert") is None:
        raise EndpointError(f"{endpoint.shown}: a server needs a certificate: cert=FILE&key=FILE")
    if endpoint.get("client_cert") and endpoint.get("client_ca") is None:
        raise EndpointError(f"{endpoint.shown}: client_cert= needs client_ca=, the authorities that sign clients")
    return _Material(_pairs(endpoint), _file(endpoint, "client_ca"), _alpn(endpoint), True)


def _client_material(endpoint: Endpoint) -> _Material:
    """What a client's context is made from; raises EndpointError."""
    _refuse(endpoint, _FOR_SERVERS, "servers")
    verify = endpoint.get("verify", True)
    if not verify and endpoint.get("ca") is not None:
        raise EndpointError(
            f"{endpoint.shown}: ca= says whom to trust and verify=no trusts everybody: give one of them"
        )
    pairs = _pairs(endpoint)
    if len(pairs) > 1:
        raise EndpointError(f"{endpoint.shown}: a client shows one certificate, not {len(pairs)}")
    return _Material(pairs, _file(endpoint, "ca"), _alpn(endpoint), verify)


def _refuse(endpoint: Endpoint, names: tuple[str, ...], whose: str) -> None:
    for name in names:
        if endpoint.get(name) is not None:
            raise EndpointError(f"{endpoint.shown}: {name}= is for {whose}")


def _pairs(endpoint: Endpoint) -> tuple[Pair, ...]:
    certs, keys = endpoint.get("cert", ()), endpoint.get("key", ())
    if keys and len(keys) != len(certs):
        raise EndpointError(
            f"{endpoint.shown}: {len(certs)} cert= and {len(keys)} key=: give one key= for each cert=, in their order, "
            "or none if each file holds both"
        )
    files = [File.of("cert", name) for name in certs]
    return tuple(map(Pair, files, [File.of("key", name) for name in keys] or files))


def _file(endpoint: Endpoint, option: str) -> File | None:
    name = endpoint.get(option)
    return None if name is None else File.of(option, name)


def _alpn(endpoint: Endpoint) -> tuple[str, ...]:
    names: tuple[str, ...] = endpoint.get("alpn", ())
    for name in names:
        if not name.isascii() or len(name) > 255:
            raise EndpointError(f"{endpoint.shown}: alpn= takes names of at most 255 ASCII characters")
    return names


def _server_name(endpoint: Endpoint) -> str:
    try:
        return plain_name(endpoint.get("server_name") or endpoint.host or "localhost")
    except ValueError as exc:
        raise EndpointError(f"{endpoint.shown}: {exc}") from None


def plain_name(name: str) -> str:
    """The name of a server as it is asked for and as certificates have it; raises ValueError if it is none."""
    try:
        return str(ipaddress.ip_address(name.partition("%")[0]))  # no certificate knows the scope
    except ValueError:
        pass
    name = name.removesuffix(".")  # SNI and certificates have none at the end (RFC 6066 §3)
    try:
        if not 0 < len(name) < 254:  # before the codec, which takes its time
            raise UnicodeError
        return name.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{name!r} cannot be the name of a server") from None
