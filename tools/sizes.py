"""A report of the longest files: past 400 lines a file should say why, past 600 this fails.

Run as `python tools/sizes.py [ROOT]`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

FOLDERS = ("src", "tests", "tools", "examples", "build_backend", "bench")
SAYS_WHY = 400
TOO_LONG = 600


def sizes(root: Path) -> list[tuple[int, Path]]:
    """(lines, file) of every Python file, the longest first."""
    files = [file for folder in FOLDERS for file in (root / folder).rglob("*.py")]
    counted = [(len(file.read_bytes().splitlines()), file) for file in files]
    return sorted(counted, key=lambda entry: (-entry[0], entry[1]))


def main() -> int:
    found = sizes(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
    for lines, file in found[:5]:
        print(f"{lines:6}  {file}")
    for lines, file in found:
        if lines > SAYS_WHY:
            limit = f"more than {TOO_LONG}: split it" if lines > TOO_LONG else f"more than {SAYS_WHY}: does it say why?"
            print(f"{file}: {lines} lines, {limit}")
    counts = [lines for lines, _ in found]
    print(f"sizes: {len(found)} files, {sum(counts)} lines, median {median(counts or [0]):.0f}")
    return 1 if found and found[0][0] > TOO_LONG else 0


if __name__ == "__main__":
    sys.exit(main())
