"""Sends back whatever comes: the smallest server.

Run it, then try:  telnet localhost 4040
"""

import trews


class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)


if __name__ == "__main__":
    trews.serve(Echo, "localhost:4040")
