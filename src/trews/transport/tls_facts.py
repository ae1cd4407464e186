"""What is known of a TLS connection: version, cipher, names, certificates. Before the handshake is done, nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trews.transport.certificates import asked_for

if TYPE_CHECKING:
    import ssl


class TLS:
    """What TLS knows of a connection. `Connection.tls` is one."""

    def __init__(self, session: ssl.SSLObject) -> None:
        self._session = session

    @property
    def version(self) -> str:
        """The version of the protocol: `"TLSv1.3"`."""
        return self._session.version() or ""

    @property
    def cipher(self) -> str:
        """The name of the cipher suite."""
        cipher = self._session.cipher()
        return cipher[0] if cipher else ""

    @property
    def alpn(self) -> str | None:
        """The protocol that both ends agreed on (RFC 7301); None if none was."""
        return self._session.selected_alpn_protocol()

    @property
    def server_name(self) -> str | None:
        """The name that the client asked for (SNI); None if it did not. (Known by the contexts of endpoints.)"""
        return asked_for(self._session) or self._session.server_hostname

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The peer's certificate as `ssl.SSLSocket.getpeercert` gives it; `{}` if it was not verified."""
        return self._session.getpeercert() if self.version else None  # before, it raises

    @property
    def peer_certificate_der(self) -> bytes | None:
        """The peer's certificate in DER; None if it has shown none."""
        return self._session.getpeercert(binary_form=True) if self.version else None

    @property
    def is_resumed(self) -> bool:
        """Whether the handshake was cut short by a ticket of an earlier connection."""
        return bool(self._session.session_reused)

    def __repr__(self) -> str:
        return f"<{self.version} {self.cipher} alpn={self.alpn!r} server_name={self.server_name!r}>"
