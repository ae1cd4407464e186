"""Running the benchmarks: servers and loads, the command, and short real runs. Rounds are in test_bench_rounds.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import __main__ as command
from bench import loads, measure, programs, raw, report, web
from bench.programs import Failed, Lab, Missing, free_port, may_run_in_real_time
from bench.rounds import run
from tests.conftest import absent

ROOT = Path(__file__).resolve().parent.parent
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks need Linux")


def starts(lab, port):
    return ["true"]


def accepting(lab, port):
    serve = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); [*iter(s.accept, 0)]"
    return [sys.executable, "-c", serve, str(port)]


@pytest.fixture
def lab(tmp_path):
    return Lab(sys.executable, 0.2, tmp_path)


@linux
def test_a_server_that_does_not_start_says_why(lab):
    def broken(lab, port):
        return [sys.executable, "-c", "raise SystemExit('no such thing')"]

    with pytest.raises(Failed, match="the server does not start: no such thing"), lab.serving(broken):
        pass


@linux
def test_a_server_is_stopped_whatever_happens(lab):
    with pytest.raises(KeyError), lab.serving(accepting) as server:
        assert os.sched_getaffinity(server.pid) == {lab.server_core}
        raise KeyError
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


@linux
def test_a_server_is_stopped_with_its_workers(lab):
    def with_a_worker(lab, port):
        serve = "import os, socket, sys, time; os.fork() or time.sleep(60); "
        return [sys.executable, "-c", serve + accepting(lab, port)[2], str(port)]

    with lab.serving(with_a_worker) as server:
        (worker,) = measure.descendants(server.pid)
    deadline = time.monotonic() + 10
    while is_alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid):
    """A process whose parent does not ask for its end stays as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@linux
def test_several_servers_that_are_up_are_stopped_when_the_run_is(lab):
    servers = []

    @contextmanager
    def session(lab, row):
        with lab.serving(row.command) as server:
            servers.append(server)
            yield {raw.setting(64): interrupt}

    def interrupt():
        for server in servers:
            os.kill(server.pid, 0)
        raise KeyboardInterrupt

    rows = [replace(row, command=accepting) for row in raw.ROWS[:3]]
    several = replace(raw.BENCHMARK, rows=rows, session=session, settings=[raw.setting(64)])
    with pytest.raises(KeyboardInterrupt):
        run(several, lab, 1, lambda what: None)
    assert len({server.port for server in servers}) == 3
    for server in servers:
        with pytest.raises(ProcessLookupError):
            os.kill(server.pid, 0)


@linux
def test_of_several_servers_each_says_itself_why_it_ended(lab):
    def ends_after_a_connection(word):
        serve = "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1]))).accept(); sys.exit('{}')"
        return lambda lab, port: [sys.executable, "-c", serve.format(word), str(port)]

    with pytest.raises(Failed, match="ended while it was measured: the first"):
        with lab.serving(ends_after_a_connection("the first")) as first:
            with pytest.raises(Failed, match="ended while it was measured: the second"):
                with lab.serving(ends_after_a_connection("the second")) as second:
                    for server in (first, second):
                        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)


@linux
def test_an_interpreter_without_trews_is_missing_it(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(Missing, match=r'cannot import trews \(ModuleNotFoundError.*pip install -e "\.\[bench\]"'):
        _ = Lab(str(python), 1, tmp_path).facts


@linux
def test_a_compiled_build_is_recognised_and_put_beside_the_pure_one(tmp_path, monkeypatch):
    (tmp_path / "trews.py").write_text(
        "import os, sys, types\n"
        "sys.modules['trews.hot'] = module = types.ModuleType('trews.hot')\n"
        "module.__file__ = '/x/hot.py' if os.environ.get('TREWS_PURE') else '/x/hot.cpython-313.so'\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TREWS_PURE", "1")  # the rows decide, not the user's shell
    lab = Lab(sys.executable, 1, tmp_path)
    assert lab.facts.native == ("trews.hot",)
    assert lab.has_two_builds
    assert report.build(lab) == "compiled, and pure Python beside it"


@linux
def test_what_is_no_python_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--python", "true", "--results", str(tmp_path)])
    assert re.fullmatch(r"bench: \S*true cannot import trews .*\n", capsys.readouterr().err)


@linux
def test_real_time_that_the_system_does_not_allow_is_refused_when_it_is_asked_for(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "may_run_in_real_time", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        command.main(["raw", "--real-time", "--results", str(tmp_path)])
    assert capsys.readouterr().err == (
        "bench: the system allows no real-time priority; root has it, and --no-real-time goes without\n"
    )


@linux
@pytest.mark.parametrize("real_time", [False, True])
def test_servers_have_the_priority_that_is_asked_for(real_time, tmp_path):
    if real_time and not may_run_in_real_time():
        pytest.skip("the system allows no real-time priority")  # on CI, too: it is not for everyone
    lab = Lab(sys.executable, 1, tmp_path, real_time)
    with lab.serving(accepting) as server:
        assert os.sched_getscheduler(server.pid) == (os.SCHED_RR if real_time else os.SCHED_OTHER)
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


@linux
def test_a_place_for_results_that_cannot_be_is_refused_before_the_work(capsys, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="2"):
        command.main(["raw", "--results", str(tmp_path / "file")])
    assert "Not a directory" in capsys.readouterr().err


def test_a_free_port_is_not_one_that_the_system_gives_to_clients():
    assert 20_000 <= free_port() < 32_000


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_of_another_server_is_not_free(kind, monkeypatch):
    with socket.socket(type=kind) as sock:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        port = sock.getsockname()[1]
        monkeypatch.setattr(programs, "PORTS", range(port, port + 1))
        with pytest.raises(Failed, match=f"no port from {port} to {port} is free"):
            free_port()


# --- wrk's report

WRK = """\
Running 1s test @ http://127.0.0.1:20001/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   320.11us  210.55us   4.77ms   92.67%
    Req/Sec   189.60k     9.04k  199.51k    80.00%
  Latency Distribution
     50%  296.00us
     75%  351.00us
     90%    1.42ms
     99%    1.20s
  188703 requests in 1.00s, 9.18MB read
Requests/sec: 188549.83
Transfer/sec:      9.17MB
"""


@pytest.mark.parametrize("more", ["", "  Socket errors: connect 0, read 0, write 0, timeout 3\n"])
def test_what_wrk_says_is_read(more):
    assert loads.parse_wrk(WRK + more) == loads.Load(188_703, 188_549.83, 296.0, 1_200_000.0)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n", "read 3"),
        (WRK + "  Non-2xx or 3xx responses: 7\n", "responses: 7"),
        (WRK.replace("188703 requests", "0 requests"), "no requests"),
        ("", "no requests"),
    ],
)
def test_a_run_of_wrk_with_errors_is_no_sample(output, sentence):
    with pytest.raises(Failed, match=sentence):
        loads.parse_wrk(output)


# --- the command


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["wrong"],
            "there is no benchmark 'wrong'; there are raw, churn, idle, latency, bulk, tls, udp, http, wsgi, asg",
        ),
        (["--rounds", "0"], "argument --rounds: it must be at least 1, not 0"),
        (["--rounds", "x"], "argument --rounds: invalid count value: 'x'"),
        (["--seconds", "-1"], "argument --seconds: it must be more than 0, not -1"),
        (["--seconds", "nan"], "argument --seconds: it must be more than 0, not nan"),
        (["--python", "/nowhere/python"], "argument --python: there is no program /nowhere/python"),
        (["--wrong"], "unrecognized arguments: --wrong"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"bench: {sentence}")
    assert errors.count("\n") == 1


def test_the_list(capsys):
    assert command.main(["--list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    network = ["raw", "churn", "idle", "latency", "bulk", "tls", "udp", "http", "wsgi", "asgi"]
    assert names == [*network, "import", "framing"]


@linux
@pytest.mark.parametrize(("check", "status"), [([], 0), (["--check"], 1)])
def test_a_missed_must_is_a_status_for_those_who_ask(check, status, monkeypatch, capsys, tmp_path):
    @contextmanager
    def session(lab, row):
        yield dict.fromkeys(raw.BENCHMARK.settings, lambda: {"cpu": 9.0 if row.is_trews else 3.0, "rate": 1.0})

    rows = [replace(row, command=starts) for row in raw.ROWS]
    monkeypatch.setitem(command.BENCHMARKS, "raw", replace(raw.BENCHMARK, rows=rows, session=session))
    assert command.main(["raw", "--results", str(tmp_path), *check]) == status
    assert (
        "trews callbacks / C epoll floor = 3 (3–3): must ≤ 1.25 MISSED, goal ≤ 1.15 missed" in capsys.readouterr().out
    )


@pytest.mark.slow
@pytest.mark.timeout(180)
@linux
def test_a_short_run_of_two_servers(monkeypatch, capsys, tmp_path):
    for program in ("wrk", "cc"):
        if shutil.which(program) is None:
            absent(f"no {program}")
    rows = [row for row in raw.ROWS if row.name in ("C epoll floor", "trews callbacks")]
    monkeypatch.setitem(command.BENCHMARKS, "raw", replace(raw.BENCHMARK, rows=rows, passes={raw.setting(64): 2}))
    arguments = ["--rounds", "1", "--seconds", "0.3", "--no-real-time", "--results", str(tmp_path)]  # others run, too
    assert command.main(["raw", *arguments]) == 0
    output = capsys.readouterr().out
    assert "FAILED" not in output
    assert "SKIPPED" not in output
    assert "Fewer than 5 rounds" in output
    (folder,) = tmp_path.iterdir()
    found = json.loads((folder / "results.json").read_text("utf-8"))
    sample = found["results"][0]["rounds"][0]["trews callbacks"]["1,000 connections"]
    assert 0 < sample["cpu"] < 10_000
    assert found["about"]["build"] == report.build(Lab(sys.executable, 1, tmp_path))
    ElementTree.parse(folder / "raw.svg")


@pytest.mark.slow
@pytest.mark.timeout(180)
@linux
@pytest.mark.parametrize("name", [name for name in command.BENCHMARKS if name != "raw"])  # raw is the test above
def test_every_benchmark_measures_trews(name, tmp_path):
    benchmark = command.BENCHMARKS[name]
    rows = [row for row in benchmark.rows if row.is_trews]
    passes = dict.fromkeys(benchmark.passes, 2)  # as few as there can be
    result = run(
        replace(benchmark, rows=rows, passes=passes, least_rounds=1),
        Lab(sys.executable, 0.1, tmp_path),
        1,
        lambda what: None,
    )
    if result.skipped:
        absent(next(iter(result.skipped.values())))
    assert result.failed == []
    if name in ("http", "wsgi", "asgi"):
        report.save([result], {"date": ""} | report.machine(Lab(sys.executable, 1, tmp_path), 1), tmp_path)
        ElementTree.parse(tmp_path / "servers.svg")
    for setting in benchmark.settings:
        for column in benchmark.columns:
            assert all(len(result.values(setting, row, column.figure)) == 1 for row in result.rows)


@pytest.mark.slow
@linux
@pytest.mark.parametrize("row", raw.ROWS, ids=lambda row: row.name)
def test_every_server_gives_the_same_answer(row, tmp_path):
    lab = Lab(sys.executable, 0.1, tmp_path)
    try:
        row.command(lab, 0)
    except Missing as exc:
        pytest.skip(str(exc))  # on CI, too: the peers are for comparing, and not all of them are tested
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!"
    with lab.serving(row.command) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        for _ in range(2):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(65536) == answer


WEB_ROWS = {row.name: row for name in ("http", "wsgi", "asgi") for row in command.BENCHMARKS[name].rows}


@pytest.mark.slow
@linux
@pytest.mark.parametrize("row", WEB_ROWS.values(), ids=WEB_ROWS)
def test_every_http_server_gives_the_answers_that_are_asked_for(row, tmp_path):
    lab = Lab(sys.executable, 0.1, tmp_path)
    try:
        row.command(lab, 0)
        lab.compiled("httpload")
    except Missing as exc:
        pytest.skip(str(exc))  # on CI, too: the peers are for comparing, and not all of them are tested
    with web.session(lab, row) as measures:
        assert {web.SMALL.name, web.BROWSER.name} <= set(measures)
        for setting, measured in measures.items():
            assert measured()["requests"] > 0, setting


@pytest.mark.slow
@linux
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHello, world", "not the size"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 13\r\n\r\nHello, world!", "HTTP/1.1 500 Oh"),
        (b"HTTP/1.1 200 OK\r\n\r\nHello, world!", "no length and no chunks"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nHello, world!\r\n", "a chunk has no size"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\nHello, world!", "closes connections"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!H", "more answers than requests"),
        (b"", "ended without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!", None),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nHello,\r\n7;x\r\n world!\r\n0\r\nT: x\r\n\r\n",
            None,
        ),
    ],
)
def test_the_load_reads_answers_to_their_end(answer, sentence, tmp_path):
    if shutil.which("cc") is None:
        absent("no C compiler")

    def canned(lab, port):
        return [sys.executable, "-c", CANNED, str(port), answer.hex()]

    lab = Lab(sys.executable, 0.1, tmp_path)
    with lab.serving(canned) as server:
        if sentence is None:
            assert web.load(lab, server, web.SMALL, 0.1)["requests"] > 0
        else:
            with pytest.raises(Failed, match=sentence):
                web.load(lab, server, web.SMALL, 0.1)


CANNED = """
import asyncio, sys
async def handle(reader, writer):
    while await reader.read(65536) and len(sys.argv[2]):
        for byte in bytes.fromhex(sys.argv[2]):
            writer.write(bytes([byte]))
    writer.close()
async def main():
    await (await asyncio.start_server(handle, "127.0.0.1", int(sys.argv[1]))).serve_forever()
asyncio.run(main())
"""


@pytest.mark.slow
@linux
@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "bench" / "c").glob("*.c"))])
def test_c_compiles_without_a_warning(name, tmp_path):
    if shutil.which("cc") is None:
        absent("no C compiler")
    source = ROOT / "bench" / "c" / f"{name}.c"
    done = subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / name, source], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
