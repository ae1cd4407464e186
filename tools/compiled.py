"""Compile the working tree into a directory to put on PYTHONPATH: for measuring, and for a suite of both builds.

Run as `python tools/compiled.py DIRECTORY`, or `make compiled`. What is there is replaced by a wheel of this tree,
unpacked: the `.py` and, beside those that are compiled, the extensions for the Python that runs this. It installs
nothing: setuptools and mypy must be there.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    target = Path(sys.argv[1]).resolve()
    if target.is_dir() and any(target.iterdir()) and not (target / "trews" / "_build.json").is_file():
        print(f"{target} is not empty, and not what this program makes", file=sys.stderr)
        return 2
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT / "build_backend"))
    os.environ["TREWS_COMPILE"] = "1"
    try:
        import backend
    except ImportError as exc:
        print(f"{exc}; pip install 'setuptools>=77' first", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as directory:
        wheel = backend.build_wheel(directory)
        shutil.rmtree(target, ignore_errors=True)
        with zipfile.ZipFile(Path(directory, wheel)) as archive:
            archive.extractall(target)
    print(f"PYTHONPATH={target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
