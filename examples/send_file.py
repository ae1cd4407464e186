"""Sends everybody the same file, of any size.

Run it, then try:  trews connect localhost:4040 < /dev/null > copy
"""

import sys

import trews


class SendFile(trews.Connection):
    async def on_connect(self):
        try:
            await self.write_file(self.server.path)
        except OSError as exc:
            print(f"cannot send {self.server.path}: {exc.strerror}")
        self.close()


class FileServer(trews.Server):
    def __init__(self, path):
        super().__init__(SendFile)
        self.path = path


if __name__ == "__main__":
    trews.serve(FileServer(sys.argv[1] if len(sys.argv) > 1 else __file__), "localhost:4040")
