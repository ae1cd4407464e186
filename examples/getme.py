"""A protocol of one's own: `GETME path n skip` sends n bytes of a file, after skipping some.

The answer is `OK count`, a line end and that many bytes; or `ERROR` and a sentence.
Run it, then try:  echo GETME README.md 40 2 | trews connect localhost:4040
"""

from pathlib import Path

import trews
from trews.framing import Line


class GetMe(trews.Connection):
    framer = Line(encoding="utf-8")
    max_message = 1024

    def on_read(self, line):
        try:
            data = self.server.piece(*parse(line))
        except (ValueError, OSError) as exc:
            self.send(f"ERROR {getattr(exc, 'strerror', None) or exc}")
        else:
            self.send(f"OK {len(data)}")
            self.write(data)


def parse(line):
    match line.split():
        case ["GETME", path, n, skip] if (n + skip).isdecimal():
            return path, int(n), int(skip)
    raise ValueError("expected GETME path n skip")


class GetMeServer(trews.Server):
    def __init__(self, folder, most=1 << 20):
        super().__init__(GetMe)
        self.folder = Path(folder).resolve()
        self.most = most

    def piece(self, path, n, skip):
        """Some bytes of a file in the folder; `..` and links do not lead out of it."""
        file = (self.folder / path).resolve()
        if not file.is_relative_to(self.folder) or not file.is_file():
            raise ValueError("no such file")
        with file.open("rb") as stream:
            stream.seek(skip)
            return stream.read(min(n, self.most))


if __name__ == "__main__":
    trews.serve(GetMeServer("."), "localhost:4040")
