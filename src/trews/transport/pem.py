"""PEM files: certificates, keys and authorities put into an `ssl.SSLContext`, or a sentence why not.

Files are read on the loop: a certificate with its key takes 0.7 ms, looking for a change 3 µs a file. Not here:
what a context is for, and who is served which certificate.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import time
from dataclasses import dataclass
from typing import Any

from trews.errors import sentence

MAX_BYTES = 8 << 20  # of one file; all the authorities of a system are 0.2 MiB

_CERTIFICATE = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
_IN_DIRECTORY = re.compile(r".*\.(?:pem|crt|cer)|[0-9a-f]{8}\.[0-9]+", re.IGNORECASE)
_MISMATCH = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
_WEAK = ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK")

Stamp = tuple[int, int, int, int] | None
Stamps = tuple[Stamp, ...]


class PemError(Exception):
    """A file cannot be used; its message is a sentence that names the file."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as an option of an endpoint names it. The path is absolute: the process may change its directory."""

    option: str
    name: str
    path: str

    @classmethod
    def of(cls, option: str, name: str) -> File:
        return cls(option, name, os.path.abspath(name))

    def __str__(self) -> str:
        return f"{self.option}={self.name}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its key. `key` is the same file if both are in one."""

    cert: File
    key: File


@dataclass(frozen=True, slots=True)
class Identity:
    """What a certificate says.

    Args:
        names: of hosts, lower case, `*.example.org` among them; and IP addresses.
        not_before: seconds since the epoch, as is `not_after`.
    """

    names: tuple[str, ...]
    not_before: float
    not_after: float

    def trouble(self) -> str:
        """Why clients will refuse it today, `""` if there is no reason."""
        now = time.time()
        if self.not_after < now:
            return f"expired on {_day(self.not_after)}"
        return f"is not valid before {_day(self.not_before)}" if now < self.not_before else ""


def stamps_of(files: list[File]) -> Stamps:
    """What changes when one of these files does, be it a symbolic link on the way to it."""
    return tuple(_stamp(path) for file in files for path in (file.path, *_listed(file.path)))


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _listed(path: str) -> list[str]:
    """The files of a directory of authorities, sorted; of a file, none."""
    try:
        return [os.path.join(path, name) for name in sorted(os.listdir(path)) if _IN_DIRECTORY.fullmatch(name)]
    except OSError:
        return []


def load_pair(context: ssl.SSLContext, pair: Pair) -> None:
    """Have `context` show this certificate.

    Raises:
        PemError: a file is missing, is something else, or the two do not fit.
    """
    cert, key = pair.cert, pair.key
    _expect_certificate(cert)
    _expect_key(pair)

    def refuse() -> str:
        # Without this function OpenSSL would ask at the terminal, and the loop would wait for whoever sits there.
        raise PemError(
            f"the key in {key} is encrypted, and nobody is asked for its passphrase: "
            f"take it off with `openssl pkey -in {key.name} -out NEW.pem`"
        )

    try:
        context.load_cert_chain(cert.path, key.path, refuse)
    except (OSError, ValueError) as exc:
        raise PemError(_why_not(pair, exc)) from None


def _why_not(pair: Pair, exc: Exception) -> str:
    reason = getattr(exc, "reason", None)
    if reason in _MISMATCH:
        return f"the key in {pair.key} does not belong to the first certificate in {pair.cert}"
    if reason in _WEAK:
        return f"the certificate in {pair.cert} is too weak: its key is too short, or its signature outdated"
    if isinstance(exc, ssl.SSLError):
        both = f"{pair.cert} or {pair.key}" if pair.cert.path != pair.key.path else str(pair.cert)
        return f"{both} is damaged: it cannot be decoded"
    return f"{pair.cert}: {sentence(exc)}"


def load_authorities(context: ssl.SSLContext, file: File) -> None:
    """Have `context` trust those in a file, or in the `.pem`, `.crt`, `.cer` and hashed files of a directory.

    Raises:
        PemError: there are none, or a file cannot be read.
    """
    is_directory = os.path.isdir(file.path)
    paths = _listed(file.path) if is_directory else [file.path]
    if not paths:
        raise PemError(f"the directory {file} has no certificates in it: their files end in .pem or .crt")
    for path in paths:
        one = File(file.option, os.path.join(file.name, os.path.basename(path)), path) if is_directory else file
        _expect_certificate(one)
        try:
            context.load_verify_locations(path)
        except ssl.SSLError:
            raise PemError(f"{one} is damaged: it cannot be decoded") from None
        except OSError as exc:
            raise PemError(f"{one}: {sentence(exc)}") from None


def identity(cert: File) -> Identity | None:
    """What the first certificate of a file says; None where this Python cannot tell."""
    try:
        # The ssl module shows certificates of peers only, and of its own none. CPython has had this for its tests
        # since 2.6; without it there is no choice by name, and no warning of an expired certificate.
        from _ssl import _test_decode_cert  # type: ignore[attr-defined, unused-ignore]

        found: dict[str, Any] = _test_decode_cert(cert.path)
        not_before, not_after = (ssl.cert_time_to_seconds(found[end]) for end in ("notBefore", "notAfter"))
    except (ImportError, OSError, ValueError, KeyError):
        return None
    names = [name for kind, name in found.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    if not names:  # RFC 9525 §2 knows no other names, but some old devices do
        names = [value for part in found.get("subject", ()) for kind, value in part if kind == "commonName"]
    return Identity(tuple(name.lower().rstrip(".") for name in names), not_before, not_after)


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _expect_certificate(file: File) -> None:
    data = _read(file)
    if _CERTIFICATE.search(data):
        return
    hint = ""
    if _KEY.search(data):
        hint = ", but a private key"
        hint += (
            ": have cert= and key= changed places?" if file.option == "cert" else "; name the authority's certificate"
        )
    elif data.startswith(b"\x30"):
        hint = f": if it is one in DER, write it anew with `openssl x509 -inform DER -in {file.name} -out NEW.pem`"
    raise PemError(f"there is no PEM certificate in {file}{hint}")


def _expect_key(pair: Pair) -> None:
    if _KEY.search(_read(pair.key)):
        return
    if pair.key.path == pair.cert.path:
        raise PemError(f"there is no private key in {pair.cert}: name its file with key=")
    raise PemError(f"there is no PEM private key in {pair.key}")


def _read(file: File) -> bytes:
    try:
        found = os.stat(file.path)
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for who writes it
            raise PemError(f"{file} is not a file")
        if found.st_size > MAX_BYTES:
            raise PemError(f"{file} is larger than {MAX_BYTES >> 20} MiB, so it is not a certificate or key")
        with open(file.path, "rb") as opened:
            return opened.read(MAX_BYTES)
    except OSError as exc:
        raise PemError(f"{file}: {sentence(exc)}") from None
