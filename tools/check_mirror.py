"""Every module has its test module: src/trews/transport/socket.py, tests/transport/test_socket.py.

Run as `python tools/check_mirror.py [ROOT]`. A package's `__init__.py` only gathers names and needs
no test of its own, but the top one is what users see: tests/test_public.py. `__main__.py` runs the
command and is tested with it.
"""

from __future__ import annotations

import sys
from pathlib import Path


def test_file(module: Path) -> Path | None:
    """Where the tests of a module belong; both paths relative, to src/trews and to tests."""
    if module == Path("__init__.py"):
        return Path("test_public.py")
    if module.name in ("__init__.py", "__main__.py"):
        return None
    return module.with_name(f"test_{module.name.lstrip('_')}")


def check(root: Path) -> list[str]:
    package, tests = root / "src" / "trews", root / "tests"
    problems = []
    for file in sorted(package.rglob("*.py")):
        expected = test_file(file.relative_to(package))
        if expected and not (tests / expected).is_file():
            problems.append(f"{file}: has no test module, expected {tests / expected}")
    return problems


def main() -> int:
    problems = check(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"mirror: {len(problems)} modules without tests" if problems else "mirror: every module has its tests")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
