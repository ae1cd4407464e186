"""Quote of the day (RFC 865): sends the quote that the server was made with, and closes.

Run it, then try:  trews connect localhost:4040
"""

import trews


class Quote(trews.Connection):
    def on_connect(self):
        self.write(self.server.quote.encode() + b"\r\n")
        self.close()


class QuoteServer(trews.Server):
    """What all connections share lives on their server."""

    def __init__(self, quote):
        super().__init__(Quote)
        self.quote = quote


if __name__ == "__main__":
    trews.serve(QuoteServer("An apple a day keeps the doctor away."), "localhost:4040")
