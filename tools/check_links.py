"""Relative links in the documentation lead to files that exist, and to headings that exist there.

Run as `python tools/check_links.py [ROOT]`. Links to other sites are not followed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]+`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")


def anchors(text: str) -> set[str]:
    """The fragments of a page's headings, by the rule of the usual forges."""
    fenced = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(fenced)}


def check_page(page: Path) -> Iterator[str]:
    text = page.read_text("utf-8")
    for match in LINK.finditer(CODE.sub("", text)):
        link = match[1] or match[2]
        if ELSEWHERE.match(link):
            continue
        path, _, fragment = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            yield f"{page}: the link {link} leads nowhere"
        elif fragment and target.suffix == ".md" and fragment not in anchors(target.read_text("utf-8")):
            yield f"{page}: the link {link} names a heading that is not there"


def check(root: Path) -> list[str]:
    below = (page for folder in ("docs", "src", "bench") for page in (root / folder).rglob("*.md"))
    pages = sorted([*root.glob("*.md"), *below])
    return [problem for page in pages for problem in check_page(page)]


def main() -> int:
    problems = check(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"links: {len(problems)} broken" if problems else "links: all lead somewhere")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
