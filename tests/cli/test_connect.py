"""`trews connect`, as a process: on pipes, files and terminals."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
from contextlib import contextmanager

import pexpect
import pytest
import trustme

from trews.cli import main

KIB = 1024
# What the kernel's buffers between two processes hold, generously.
KERNEL = 16 * KIB * KIB


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)


@contextmanager
def peer(handle=echo, family=socket.AF_INET, address=("127.0.0.1", 0)):
    """A plain server for one connection, and its endpoint."""
    with socket.socket(family) as listener:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # which accepted sockets inherit
            listener.setsockopt(socket.SOL_SOCKET, option, 64 * KIB)
        listener.bind(address)
        listener.listen()
        listener.settimeout(20)

        def serve():
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(20)
                handle(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        name = listener.getsockname()
        try:
            yield f"unix:{name}" if family == socket.AF_UNIX else f"tcp:127.0.0.1:{name[1]}"
        finally:
            thread.join()


def test_a_pipe_in_and_its_answer_out(trews_command):
    with peer() as endpoint:
        ended = trews_command("connect", endpoint, input=b"hi\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"hi\n", b"")


@contextmanager
def tls_peer(tmp_path, version, handle):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def shake(sock):
        with context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as secure:
            handle(secure)

    with peer(shake) as endpoint:
        yield f"{endpoint.replace('tcp:', 'tls:')}?ca={tmp_path / 'ca.pem'}"


def echo_and_say_goodbye(sock):
    echo(sock)
    sock.unwrap()


def test_over_tls_the_end_of_the_input_is_told(trews_command, tmp_path):
    with tls_peer(tmp_path, ssl.TLSVersion.TLSv1_3, echo_and_say_goodbye) as endpoint:
        ended = trews_command("connect", endpoint, input=b"hi\n" * 10_000)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"hi\n" * 10_000, b"")


def test_over_tls_1_2_the_end_of_the_input_is_followed_by_the_last_answers(trews_command, tmp_path):
    def echo_until_closed(sock):
        try:
            echo_and_say_goodbye(sock)
        except OSError:
            pass  # the goodbye is answered by a closed socket

    with tls_peer(tmp_path, ssl.TLSVersion.TLSv1_2, echo_until_closed) as endpoint:
        ended = trews_command("connect", endpoint, input=b"hi\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"hi\n", b"")


def test_a_tls_port_that_is_spoken_to_in_clear_is_noticed(trews_command):
    with peer(lambda sock: sock.recv(100) and sock.sendall(b"\x15\x03\x01\x00\x02\x02\x46")) as endpoint:
        ended = trews_command("connect", endpoint, input=b"hi\n")
    assert (ended.returncode, ended.stdout) == (0, b"\x15\x03\x01\x00\x02\x02\x46")
    assert ended.stderr == b"trews: this looks like TLS: is it a tls: endpoint?\n"


def test_through_an_http_proxy_one_direction_is_not_closed_before_the_answers(trews_command):
    seen = []

    def proxy(sock):
        """As squid: the end of one direction is the end of both."""
        head = sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        seen.append((head.split(b"\r\n")[0], sock.recv(100)))
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.recv(100)
        sock.sendall(b"answer\n")

    with peer(proxy) as endpoint:
        via = endpoint.replace("tcp:", "http://")
        ended = trews_command("connect", f"192.0.2.1:80?via={via}", input=b"hi\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"answer\n", b"")
    assert seen == [(b"CONNECT 192.0.2.1:80 HTTP/1.1", b"hi\n")]


def test_a_stream_that_is_cut_short_is_an_error(trews_command, tmp_path):
    def cut(sock):
        sock.send(b"half")
        sock.recv(100)  # the other end's goodbye: unread it would make of this end a reset, which may overtake the data

    with tls_peer(tmp_path, ssl.TLSVersion.TLSv1_3, cut) as endpoint:
        ended = trews_command("connect", endpoint, input=b"")
    assert (ended.returncode, ended.stdout) == (1, b"half")
    assert b"cut the stream short" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


def test_a_certificate_that_nobody_has_signed_is_one_sentence(trews_command, tmp_path):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def shake(sock):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(sock, server_side=True).recv(1)

    with peer(shake) as endpoint:
        ended = trews_command("connect", endpoint.replace("tcp:", "tls:"), input=b"")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"not trusted" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


def test_a_unix_socket(trews_command, tmp_path):
    with peer(family=socket.AF_UNIX, address=str(tmp_path / "s")) as endpoint:
        ended = trews_command("connect", endpoint, input=b"hi\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"hi\n", b"")


def test_files_in_and_out(trews_command, tmp_path):
    content = os.urandom(5_000_000)
    (tmp_path / "in").write_bytes(content)
    with peer() as endpoint, (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as sink:
        ended = trews_command("connect", endpoint, stdin=source, stdout=sink)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (tmp_path / "out").read_bytes() == content


def test_much_through_pipes_arrives_whole(trews_command):
    content = os.urandom(10_000_000)
    with peer() as endpoint:
        ended = trews_command("connect", endpoint, input=content)
    assert ended.stdout == content
    assert ended.returncode == 0


def test_no_input_at_all(trews_command):
    with peer(lambda sock: sock.sendall(b"only this")) as endpoint:
        ended = trews_command("connect", endpoint)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"only this", b"")


def test_it_ends_when_the_peer_does_although_there_may_be_more_input(start):
    with peer(lambda sock: sock.sendall(b"goodbye")) as endpoint:
        process = start("connect", endpoint, stdin=subprocess.PIPE)
        assert process.wait(20) == 0
        assert process.stdout.read() == b"goodbye"


def test_the_answer_to_what_was_sent_comes_after_the_end_of_the_input(trews_command):
    def late(sock):
        whole = b"".join(iter(lambda: sock.recv(65536), b""))
        sock.sendall(b"got %d bytes" % len(whole))

    with peer(late) as endpoint:
        ended = trews_command("connect", endpoint, input=bytes(100_000))
    assert ended.stdout == b"got 100000 bytes"


def test_a_slow_peer_holds_the_input_back(start, fill):
    may_read = threading.Event()
    received = []

    def slow(sock):
        may_read.wait(40)
        received.append(sum(map(len, iter(lambda: sock.recv(65536), b""))))

    with peer(slow) as endpoint:
        process = start("connect", endpoint, stdin=subprocess.PIPE)
        taken = fill(process.stdin.fileno(), 64 * KIB * KIB)
        may_read.set()
        process.stdin.close()
        assert process.wait(20) == 0
    assert taken < KERNEL + KIB * KIB
    assert received == [taken]


def test_a_slow_reader_of_the_output_holds_the_peer_back(start, fill):
    sent = []

    def fast(sock):
        sent.append(fill(sock.fileno(), 64 * KIB * KIB))

    with peer(fast) as endpoint:
        process = start("connect", endpoint)
        while not sent:
            threading.Event().wait(0.01)
        received = len(process.stdout.read())
        assert process.wait(20) == 0
    assert sent[0] < KERNEL + KIB * KIB
    assert received == sent[0]


def test_a_peer_that_breaks_it_off_is_one_sentence(trews_command):
    def reset(sock):
        sock.recv(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with peer(reset) as endpoint:
        ended = trews_command("connect", endpoint, input=b"hi\n")
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr == f"trews: the connection to {endpoint} broke: the peer broke the connection off\n".encode()


def test_an_output_that_nobody_reads_any_more_ends_it_quietly(start):
    def talk(sock):
        try:
            while True:
                sock.sendall(bytes(65536))
        except OSError:
            pass

    with peer(talk) as endpoint:
        process = start("connect", endpoint)
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == b""


def test_trace_prints_the_traffic_beside_it(trews_command):
    with peer() as endpoint:
        ended = trews_command("connect", endpoint, "--trace", input=b"hi\n")
    assert ended.stdout == b"hi\n"
    assert b"sends 3 bytes" in ended.stderr
    assert b"68 69 0a" in ended.stderr


def test_lines_from_a_terminal_and_ctrl_d(on_terminal):
    with peer(echo_upper) as endpoint:
        child = on_terminal("connect", endpoint)
        child.sendline("one")
        child.expect("ONE")
        child.sendline("two")
        child.expect("TWO")
        child.sendeof()
        child.expect(pexpect.EOF)
        child.close()
    assert child.exitstatus == 0


def echo_upper(sock):
    while data := sock.recv(65536):
        sock.sendall(data.upper())


def test_ctrl_c_on_a_terminal_says_goodbye_to_the_peer(on_terminal):
    ends = []

    def watch(sock):
        sock.sendall(b"ready")
        ends.append(sock.recv(10))

    with peer(watch) as endpoint:
        child = on_terminal("connect", endpoint)
        child.expect("ready")
        child.sendintr()
        rest = child.read()
        child.close()
    assert child.exitstatus == 130
    assert rest.strip() in ("", "^C")
    assert ends == [b""]  # and no reset


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_ctrl_c_again_and_again_prints_no_traceback(start, count):
    def greet(sock):
        sock.sendall(b"ready")
        to_the_end(sock)

    with peer(greet) as endpoint:
        process = start("connect", endpoint, stdin=subprocess.PIPE)
        assert process.stdout.read(5) == b"ready"
        for _ in range(count):
            process.send_signal(signal.SIGINT)
        assert process.wait(20) in ((130,) if count == 1 else (130, -signal.SIGINT))
        assert process.stderr.read() in (b"", b"\n")


def to_the_end(sock):
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:  # it ended at once
        pass


def test_a_signal_while_the_peer_reads_nothing(start, fill):
    done = threading.Event()

    def stuck(sock):
        sock.sendall(b"ready")
        done.wait(40)

    with peer(stuck) as endpoint:
        try:
            process = start("connect", endpoint, stdin=subprocess.PIPE)
            assert process.stdout.read(5) == b"ready"
            fill(process.stdin.fileno(), 64 * KIB * KIB)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert process.stderr.read() in (b"", b"\n")
        finally:
            done.set()


def test_a_program_and_its_status(trews_command):
    ended = trews_command("connect", "exec:sh -c 'tr a-z A-Z; echo why >&2'", input=b"hi\n")
    assert (ended.returncode, ended.stdout) == (0, b"HI\n")
    assert ended.stderr == b"exec:sh -c 'tr a-z A-Z; echo why >&2': why\n"
    ended = trews_command("connect", "exec:sh -c 'echo hi; exit 3'")
    assert (ended.returncode, ended.stdout) == (1, b"hi\n")
    assert ended.stderr == b"trews: exec:sh -c 'echo hi; exit 3': the program has ended with status 3\n"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def test_refused_names_every_address(capsys, monkeypatch):
    port = free_port()
    addresses = [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")]
    found = [(family, socket.SOCK_STREAM, 6, "", (host, port)) for family, host in addresses]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *args, **kwargs: found
    )  # /etc/hosts differs from machine to machine
    assert main(["connect", f"somewhere:{port}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"trews: cannot connect to tcp:somewhere:{port}: [::1]:{port}: ")
    assert f"127.0.0.1:{port}: connection refused" in err
    assert err.count("\n") == 1


def test_a_port_alone_is_of_this_machine(capsys):
    port = free_port()
    assert main(["connect", str(port)]) == 2
    assert f"127.0.0.1:{port}: connection refused" in capsys.readouterr().err


def test_an_unknown_host(capsys, monkeypatch):
    def unknown(*args, **kwargs):  # no name is looked up on a network here
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert main(["connect", "nowhere.example:80"]) == 2
    expected = "trews: cannot connect to tcp:nowhere.example:80: the host 'nowhere.example' is not known"
    err = capsys.readouterr().err
    assert err.startswith(expected)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("unix:/no/such/socket", "trews: cannot connect to unix:/no/such/socket: no such file or directory\n"),
        ("systemd:x", "trews: systemd:x: systemd: endpoints are for servers\n"),
        (
            "exec:no-such-program",
            "trews: cannot connect to exec:no-such-program: there is no program 'no-such-program'\n",
        ),
        ("fd:987", "trews: cannot connect to fd:987: file descriptor 987 is not open\n"),
        ("memory:x", "trews: cannot connect to memory:x: no server of this loop listens under that name\n"),
        ("/etc/passwd", "trews: cannot connect to unix:/etc/passwd: that is not a socket\n"),
        ("0", "trews: tcp:0: port 0 is for listening, on any free one: say which to connect to\n"),
        ("tcp:x:99999", None),
        ("localhost", None),
    ],
)
def test_bad_endpoints(endpoint, expected, capsys):
    assert main(["connect", endpoint]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("trews: ")
    assert "Traceback" not in err
    if expected is None:
        assert err.rstrip("\n").endswith("^")
    else:
        assert err == expected
