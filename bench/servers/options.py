"""What every server here is told on its command line: `NAME.py [STYLE] PORT`, and the options below."""

import argparse
import ssl

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!"
BULK_SIZE = 20_000_000  # bytes
HEAD_END = b"\r\n\r\n"

# What HTTP servers answer: a short text, the size of the body that came, 100 KB, or ten pieces of 1 KB.
APPLICATIONS = ("hello", "size", "large", "pieces")
TEXT = b"Hello, world!"
LARGE = b"x" * 100_000
PIECE = b"x" * 1000
PIECES = 10


def options(*styles):
    """`.style` (one of `styles`, if there are any), `.port`, `.answer` (bytes), `.tls` (a directory) and `.context`."""
    parser = argparse.ArgumentParser()
    if styles:
        parser.add_argument("style", choices=styles)
    parser.add_argument("port", type=int)
    parser.add_argument("--bulk", action="store_true", help="answer with 20 MB")
    parser.add_argument("--any", action="store_true", help="answer whatever comes, not a whole head")
    parser.add_argument("--tls", help="a directory with cert.pem and key.pem")
    parser.add_argument("--application", choices=APPLICATIONS, default="hello", help="what an HTTP server answers")
    told = parser.parse_args()
    told.answer = b"x" * BULK_SIZE if told.bulk else HELLO
    told.context = None
    if told.tls:
        told.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        told.context.load_cert_chain(f"{told.tls}/cert.pem", f"{told.tls}/key.pem")
    return told


def loop_factory(style):
    """The event loop that a style names."""
    if style == "asyncio":
        import asyncio

        return asyncio.SelectorEventLoop
    if style == "trews":
        import trews

        return trews.new_event_loop
    import uvloop

    if style == "aiofastnet":
        import aiofastnet

        return lambda: aiofastnet.patch_loop(uvloop.new_event_loop())
    return uvloop.new_event_loop
