"""Print one of README's two commands, as it stands there: `python tools/readme_commands.py demo|test`.

CI runs what this prints, so that the README cannot promise what does not work. A command is a line
of a fenced block that makes a virtual environment; the two are told apart by what they end in.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ENDINGS = {"demo": "trews demo", "test": "-m pytest"}


def command(text: str, which: str) -> str:
    """The command `which` in README's text; ValueError unless it is there exactly once."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    found = [line for line in lines if line.startswith("python3 -m venv") and line.endswith(ENDINGS[which])]
    if len(found) != 1:
        raise ValueError(f"README has {len(found)} commands that end in {ENDINGS[which]!r}, expected one")
    return str(found[0])


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in ENDINGS:
        print(f"usage: {sys.argv[0]} {'|'.join(ENDINGS)}", file=sys.stderr)
        return 2
    readme = Path(__file__).resolve().parent.parent / "README.md"
    print(command(readme.read_text("utf-8"), sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
