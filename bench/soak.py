"""A soak: ten million requests of all kinds against one server, and its memory after one million and at the end.

    nice python -m bench.soak [--requests N] [--python PATH] [--most BYTES]

Needs wrk and ab. Each round is wrk on connections that stay, then `ab` on a new one for each request; the memory is
looked at when all of them have ended. Exits with status 1 if it has grown by more than `--most`, 2 MB by default.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

HERE = Path(__file__).parent
WARM = 0.1  # of all requests: from then on the memory may not grow
CHURN = 5_000  # requests of a round, each on a connection of its own
MIB = 1024 * 1024


def resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"soak: the server has ended (process {pid})")


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def asked(url: str) -> int:
    """How many requests the server has had."""
    with urlopen(f"{url}/count") as answer:
        return int(answer.read().split()[1])


def load(url: str, seconds: int, connections: int, churn: int) -> None:
    """One round."""
    commands = [
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "clients" / "soak.lua"), url],
        ["ab", "-q", "-n", str(churn), "-c50", f"{url}/small"],
        ["ab", "-q", "-k", "-i", "-n", str(churn), "-c50", f"{url}/browser"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        said = done.stdout + done.stderr
        errors = [line for line in said.splitlines() if "Socket errors" in line or "Failed requests" in line]
        if done.returncode or any(not line.split(":")[1].strip() == "0" for line in errors):
            raise SystemExit(f"soak: {command[0]} failed: {' '.join(errors) or said.strip()}")


def soak(python: str, port: int, requests: int, seconds: int, connections: int, churn: int) -> int:
    """Returns by how many bytes the memory has grown since a tenth of the requests."""
    command = [python, str(HERE / "servers" / "soak_server.py"), str(port)]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process)
        count, warm, began = 0, 0, time.monotonic()
        fds = descriptors(process.pid)
        while count < requests:
            load(url, seconds, connections, churn)
            count, size = asked(url), resident(process.pid)
            if not warm and count >= requests * WARM:
                warm = size
            print(
                f"{time.monotonic() - began:7.0f} s  {count:10,} requests  {size / MIB:8.2f} MiB"
                f"  {descriptors(process.pid) - fds:+d} descriptors",
                flush=True,
            )
        print(f"from {requests * WARM:,.0f} to {count:,} requests: {(size - warm) / MIB:+.2f} MiB")
        return size - warm
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            asked(url)
        except OSError:
            if process.poll() is not None:
                raise SystemExit("soak: the server did not start") from None
            time.sleep(0.1)
        else:
            return
    raise SystemExit("soak: the server does not answer")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000_000, metavar="N")
    parser.add_argument("--python", default=sys.executable, metavar="PATH")
    parser.add_argument("--port", type=int, default=28_765)
    parser.add_argument("--seconds", type=int, default=10, metavar="S", help="of wrk in each round")
    parser.add_argument("--connections", type=int, default=64, metavar="N", help="of wrk")
    parser.add_argument("--churn", type=int, default=CHURN, metavar="N", help="connections of ab in each round")
    parser.add_argument("--most", type=int, default=2_000_000, metavar="BYTES", help="by which the memory may grow")
    told = parser.parse_args()
    grown = soak(told.python, told.port, told.requests, told.seconds, told.connections, told.churn)
    return 1 if grown > told.most else 0


if __name__ == "__main__":
    sys.exit(main())
