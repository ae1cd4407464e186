"""Try the trews that is installed: is it the build that was meant, does it work, and has it brought nothing along.

Run as `PYTHON tools/try_install.py compiled|pure`, by the Python that it is installed for. In a fresh environment:
a build that works only where it was made is the fault to find.
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

import trews
from trews import build, framing

ROOT = Path(__file__).resolve().parent.parent

# Those that compile, and what they would need at run time if the code were not written so that they do not.
TOOLS = {"mypy", "mypyc", "mypy_extensions", "librt", "setuptools"}


class Echo(trews.Connection):
    framer = framing.Line(encoding="utf-8")

    def on_read(self, line: str) -> None:
        self.send(line.upper())


async def exchange() -> list[str]:
    """Lines there and back, through the loop, a connection and a framer."""
    async with trews.Server(Echo).listen("tcp:127.0.0.1:0") as server:
        async with trews.connect(server.endpoints[0], framer=Echo.framer) as conn:
            await conn.send("hello")
            await conn.send("world")
            return [await conn.read(timeout=10), await conn.read(timeout=10)]


def problems(wanted: str) -> list[str]:
    found = []
    if Path(trews.__file__).is_relative_to(ROOT / "src"):
        found.append(f"this is the checkout, {trews.__file__}, and nothing that was installed")
    answers = trews.run(exchange())
    if answers != ["HELLO", "WORLD"]:
        found.append(f"an echo server answered {answers}")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for name in settings["tool"]["trews"]["compiled"]:
        file = str(importlib.import_module(name).__file__)
        if file.endswith(".py") is (wanted == "compiled"):
            found.append(f"{name} is {file}")
    if build.is_compiled() is not (wanted == "compiled"):
        found.append(f"it says of itself: {build.describe()}")
    brought = sorted(TOOLS & {name.partition(".")[0] for name in sys.modules})
    if brought:
        found.append(f"imported at run time: {', '.join(brought)}")
    return found


def main() -> int:
    found = problems(sys.argv[1])
    print(f"trews {trews.__version__} in {Path(trews.__file__).parent}: {build.describe()}")
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
