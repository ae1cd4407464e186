"""What an error of TLS means, as a sentence that says what to do. Tables: OpenSSL's own words name the symptom."""

from __future__ import annotations

import re
import ssl

from trews.errors import sentence

# One sentence for what a server says of its client, one for what a client says of its server.
_Both = tuple[str, str]

# By X509_V_ERR_…, of openssl/x509_vfy.h. In a server it is about the client's certificate.
_UNKNOWN: _Both = (
    "the client's certificate is not signed by an authority in client_ca=",
    "the certificate of {host} is signed by an authority that is not trusted here: trust a private one with ca=FILE, "
    "or in an SSLContext of your own (or {host} does not send its whole chain)",
)
_SELF_SIGNED: _Both = (
    "the client's certificate is signed by itself, and not by an authority in client_ca=",
    "{host} has signed its certificate itself: if you know that it is the right one, trust it with ca=FILE, "
    "or in an SSLContext of your own",
)
_WRONG_NAME: _Both = (
    "the client's certificate is for another name",
    "the certificate of {host} is for other names: connect to one of those (`openssl s_client -connect HOST:PORT` "
    "shows them), or say with server_name=NAME which one it must have",
)
_TOO_WEAK: _Both = (
    "the client's certificate has a key that is too short, or a signature that is outdated",
    "the certificate of {host} has a key that is too short, or a signature that is outdated: it must be replaced there",
)
# RFC 5280 §4.2.1.1. Recipes that are older than OpenSSL 3 leave it out.
_NO_KEY_IDENTIFIER: _Both = (
    "the client's certificate does not say which key has signed it: it must be signed anew, with the extension "
    "authorityKeyIdentifier = keyid",
    "the certificate of {host} does not say which key has signed it (Missing Authority Key Identifier): it must be "
    "signed anew with `openssl x509 -req … -extfile FILE`, and in that file authorityKeyIdentifier = keyid",
)
_REFUSED = {
    9: (
        "the client's certificate is not valid yet (or the clock of this machine is wrong)",
        "the certificate of {host} is not valid yet (or the clock of this machine is wrong)",
    ),
    10: (
        "the client's certificate has expired",
        "the certificate of {host} has expired: it must be renewed there (or the clock of this machine is wrong)",
    ),
    18: _SELF_SIGNED,
    19: _UNKNOWN,
    20: _UNKNOWN,
    21: _UNKNOWN,
    2: _UNKNOWN,
    26: (
        "the client's certificate is not made for clients (its extended key usage)",
        "the certificate of {host} is not made for servers (its extended key usage)",
    ),
    62: _WRONG_NAME,
    64: _WRONG_NAME,
    66: _TOO_WEAK,
    67: _TOO_WEAK,
    68: _TOO_WEAK,
    85: _NO_KEY_IDENTIFIER,
}

_NOT_TLS: _Both = (
    "the client does not speak TLS: it sent something else to this port",
    "{host} does not speak TLS on this port: is it another port, or a tcp: endpoint?",
)
_NO_VERSION: _Both = (
    "the client knows none of the versions of TLS that are allowed here (1.2 and 1.3)",
    "{host} knows none of the versions of TLS that are allowed here (1.2 and 1.3)",
)
_GARBLED: _Both = (
    "what came from the client is not right TLS: it is broken, or somebody has changed it on the way",
    "what came from {host} is not right TLS: it is broken, or somebody has changed it on the way",
)
# What OpenSSL says of most that begins like a record and is none: an echo of what we sent, too.
_HARDLY_TLS: _Both = (
    _GARBLED[0],
    "what came from {host} is not right TLS: {host} does not speak TLS on this port, or somebody has changed it on the "
    "way",
)
_DISTRUST: _Both = (
    "the client does not trust this server's certificate: it must know the authority, and cert= must hold the chain",
    "{host} does not trust this client's certificate: cert= must be signed by an authority that it knows",
)
_REFUSES: _Both = (
    "the client refuses this server's certificate: most often because of a name that is not in it, or its date",
    "{host} refuses this client's certificate",
)

# By OpenSSL's reason. ALERT_…, which is what the other side said, has lost the version that is written before it.
_REASONS = {
    "HTTP_REQUEST": (
        "the client speaks plain HTTP to this TLS port: its URL must begin with https://",
        "{host} does not speak TLS on this port, but HTTP",
    ),
    "HTTPS_PROXY_REQUEST": (
        "the client takes this TLS port for an HTTP proxy",
        "{host} does not speak TLS on this port, but HTTP",
    ),
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "WRONG_SSL_VERSION": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _NO_VERSION,
    "VERSION_TOO_LOW": _NO_VERSION,
    "NO_PROTOCOLS_AVAILABLE": _NO_VERSION,
    "NO_SHARED_CIPHER": (
        "the client has no cipher in common with this server",
        "{host} has no cipher in common with this client",
    ),
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        "the client shows no certificate, and client_ca= requires one",
        "{host} shows no certificate",
    ),
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": _GARBLED,
    "UNEXPECTED_MESSAGE": _HARDLY_TLS,
    "EXCESSIVE_MESSAGE_SIZE": _HARDLY_TLS,
    "BAD_EXTENSION": _GARBLED,
    "LENGTH_MISMATCH": _GARBLED,
    "CALLBACK_FAILED": (
        "the client asked for a server by a name that is none",
        "a callback of the TLS context failed",
    ),
    "ALERT_UNKNOWN_CA": _DISTRUST,
    "ALERT_BAD_CERTIFICATE": _REFUSES,
    "ALERT_CERTIFICATE_UNKNOWN": _REFUSES,
    "ALERT_UNSUPPORTED_CERTIFICATE": _REFUSES,
    "ALERT_CERTIFICATE_REVOKED": _REFUSES,
    "ALERT_ACCESS_DENIED": _REFUSES,
    "ALERT_CERTIFICATE_EXPIRED": (
        "the client says that this server's certificate has expired: renew it",
        "{host} says that this client's certificate has expired: renew what cert= names",
    ),
    "ALERT_CERTIFICATE_REQUIRED": (
        "the client says that it needs a certificate",
        "{host} requires a certificate from clients: give one with cert=FILE&key=FILE, or in an SSLContext of your own",
    ),
    "ALERT_HANDSHAKE_FAILURE": (
        "the client found no version, cipher or certificate that it accepts",
        "{host} broke off the handshake: it may require a certificate (cert=FILE&key=FILE), or has no cipher in common",
    ),
    "ALERT_PROTOCOL_VERSION": _NO_VERSION,
    "ALERT_UNRECOGNIZED_NAME": (
        "the client did not expect the name of this server",
        "{host} has no certificate for that name: say with server_name=NAME which one it has",
    ),
    "ALERT_NO_APPLICATION_PROTOCOL": (
        "the client speaks none of the protocols in alpn=",
        "{host} speaks none of the protocols in alpn=",
    ),
    "ALERT_INTERNAL_ERROR": (
        "the client had a fault of its own",
        "{host} had a fault of its own: its log should say which",
    ),
    "ALERT_BAD_RECORD_MAC": (
        "what was sent did not reach the client unchanged",
        "what was sent did not reach {host} unchanged",
    ),
}
_CLOSED: _Both = (
    "the client closed the connection during the TLS handshake (it may not trust the certificate, or not speak TLS)",
    "{host} closed the connection during the TLS handshake: does it speak TLS on this port?",
)
_SLOW: _Both = (
    "the client did not finish the TLS handshake in time",
    "{host} did not finish the TLS handshake in time: does it speak TLS on this port?",
)

_SAYS_WHO = re.compile(r"^(?:SSLV3|TLSV1|TLSV13|SSL/TLS)_(?:ALERT_)?")


def explain(exc: BaseException, *, server_side: bool, host: str = "") -> str:
    """What an exception of a handshake, or of what comes after it, means.

    Args:
        server_side: this is the server, and the peer a client.
        host: what a client connects to, as the user wrote it.

    Returns:
        One sentence, without a full stop. Nothing in it comes from the peer.
    """
    if isinstance(exc, ssl.SSLCertVerificationError):
        both = _REFUSED.get(getattr(exc, "verify_code", 0)) or _other_refusal(exc)
    elif isinstance(exc, TimeoutError):
        both = _SLOW
    elif isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError | ConnectionError):
        both = _CLOSED
    elif isinstance(exc, ssl.SSLError):
        reason = _reason(exc)
        both = _REASONS.get(reason) or _other(reason)
    else:
        return sentence(exc)
    return both[0] if server_side else both[1].format(host=host or "the server")


def _reason(exc: ssl.SSLError) -> str:
    """OpenSSL's name for it; from the text if this Python has no name, as for "no application protocol"."""
    reason: str | None = getattr(exc, "reason", None)  # what the ssl module raises itself has none
    if not reason:
        text = re.sub(r"^\[[^\]]*\] *| *\(_ssl\.c:\d+\)$", "", str(exc.args[-1] if exc.args else ""))
        reason = text.upper().replace(" ", "_")
    return _SAYS_WHO.sub("ALERT_", reason)


def _other(reason: str) -> _Both:
    words = reason.lower().replace("_", " ") or "for an unknown reason"
    if words.startswith("alert "):
        words = words.removeprefix("alert ")
        return f"the client broke off TLS: {words}", "{host} broke off TLS: " + _literal(words)
    return f"TLS failed: {words}", "TLS with {host} failed: " + _literal(words)


def _other_refusal(exc: ssl.SSLCertVerificationError) -> _Both:
    words = str(getattr(exc, "verify_message", "") or "it cannot be verified").removesuffix(".")
    return f"the client's certificate is refused: {words}", "the certificate of {host} is refused: " + _literal(words)


def _literal(words: str) -> str:
    return words.replace("{", "{{").replace("}", "}}")
