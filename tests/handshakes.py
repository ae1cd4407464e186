"""What tests of TLS share: authorities, files, and handshakes of two contexts in memory."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass
class Shaken:
    """Both ends after a handshake; `client` and `server` are what they failed with."""

    client_tls: ssl.SSLObject
    server_tls: ssl.SSLObject
    client: Exception | None = None
    server: Exception | None = None

    @property
    def worked(self) -> bool:
        return self.client is None and self.server is None

    @property
    def names(self) -> list[str]:
        """Of the certificate that the client was shown."""
        return names_of(self.client_tls)


def names_of(tls: Any) -> list[str]:
    return [name for _, name in (tls.getpeercert() or {}).get("subjectAltName", ())]


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = "localhost", session: Any = None
) -> Shaken:
    """Let a client and a server shake hands, and read once after it: TLS 1.3 has bad news for clients then."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    done = Shaken(
        client.wrap_bio(to_client, to_server, server_hostname=name, session=session),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(6):
        for side in ("client", "server"):
            tls = getattr(done, f"{side}_tls")
            if getattr(done, side) is None:
                try:
                    tls.do_handshake()
                    tls.read(1)
                except ssl.SSLWantReadError:
                    pass
                except Exception as exc:
                    setattr(done, side, exc)
    return done


class Authority:
    """A certificate authority whose files lie in a directory. Names of files are what tests call them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = trustme.CA()
        self.path = str(directory / "ca.pem")
        self.ca.cert_pem.write_to_path(self.path)

    def issue(self, file: str, *names: str, age: int = 0, days: int = 1000) -> Path:
        """A file with a key and a certificate, of so many days, issued so many days ago."""
        begin = NOW - age * DAY
        leaf = self.ca.issue_cert(*names, not_before=begin, not_after=begin + days * DAY)
        path = self.directory / file
        leaf.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def issue_pair(self, file: str, *names: str) -> tuple[Path, Path]:
        """The certificate with its chain, and the key, as `file.pem` and `file.key`."""
        leaf = self.ca.issue_cert(*names)
        cert, key = self.directory / f"{file}.pem", self.directory / f"{file}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return cert, key

    def trusting(self) -> ssl.SSLContext:
        """The context of a client that trusts this authority only."""
        context = ssl.create_default_context(cafile=self.path)
        return context
