"""A certificate made on the spot, for a demo: by the `openssl` program, or by the package `cryptography`.

It has signed itself and lives for a month at most. Who connects trusts it by its file (`ca=`), and by nothing else.
"""

from __future__ import annotations

import atexit
import datetime
import ipaddress
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from trews.addresses import is_address

DAYS = 30
TIMEOUT = 30.0  # seconds for the openssl program; it takes 20 ms

_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")

# Its own, because what stands in the system's is anybody's guess. RFC 5280: an authority, as it signs itself.
_CONFIG = """\
[req]
prompt = no
distinguished_name = subject
x509_extensions = extensions
[subject]
commonName = {name}
[extensions]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, digitalSignature, keyCertSign
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
subjectAltName = {names}
"""


class SelfSigned(NamedTuple):
    """Paths of PEM files. The directory that they are in is removed when the process exits."""

    cert: str
    key: str


class CannotSign(Exception):
    """No certificate could be made; its message is a sentence that says why."""


def self_signed(names: Sequence[str]) -> SelfSigned:
    """Make a certificate and its key, for a month.

    Args:
        names: of hosts, `*.example.org` among them, and IP addresses; at least one.

    Raises:
        CannotSign: a name is none, or there is nothing on this machine that could make one.
    """
    hosts = [_checked(name) for name in names]
    if not hosts:
        raise CannotSign("a certificate needs a name")
    program = shutil.which("openssl")
    directory = tempfile.mkdtemp(prefix="trews-tls-")  # 0700
    atexit.register(_remove, directory, os.getpid())
    made = SelfSigned(os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem"))
    os.close(os.open(made.key, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # before there is anything in it
    if program:
        _by_program(program, hosts, directory, made)
    else:
        _by_package(hosts, made)
    return made


def _checked(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _NAME.fullmatch(name) or len(name) > 253:
        raise CannotSign(f"{name!r} cannot stand in a certificate")
    return name


def _remove(directory: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked child leaves it to its parent
        shutil.rmtree(directory, ignore_errors=True)


def _by_program(program: str, names: list[str], directory: str, made: SelfSigned) -> None:
    config = os.path.join(directory, "openssl.cnf")
    alternatives = ",".join(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names)
    with open(config, "w", encoding="ascii") as file:
        file.write(_CONFIG.format(name=names[0][:64], names=alternatives))  # 64: RFC 5280, ub-common-name
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = [program, "req", "-x509", *curve, "-nodes", "-sha256", "-days", str(DAYS), "-config", config]
    try:
        subprocess.run(
            [*command, "-keyout", made.key, "-out", made.cert],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
        )
    except subprocess.CalledProcessError as exc:
        said = exc.stderr.decode("utf-8", "replace").strip().splitlines()
        raise CannotSign(f"no certificate could be made: openssl says {said[-1] if said else 'nothing'!r}") from None
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CannotSign(f"no certificate could be made: {exc}") from None


def _by_package(names: list[str], made: SelfSigned) -> None:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise CannotSign(
            "no certificate could be made: install the program openssl, or the package cryptography"
        ) from None
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0][:64])])
    alternatives: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name) for name in names
    ]
    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, encipher_only=False, decipher_only=False, **usage
            ),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for path, data in ((made.key, private), (made.cert, certificate.public_bytes(serialization.Encoding.PEM))):
        with open(path, "wb") as file:
            file.write(data)
