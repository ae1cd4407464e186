"""Certificates that change on disk while a server runs: taken up within 5 s, or the old ones stay."""

import asyncio
import gc
import os
import shutil
import weakref

import pytest
import uvloop

import trews
from tests.handshakes import Authority, shake
from trews.endpoint import Endpoint
from trews.testing import VirtualLoop
from trews.transport import certificates
from trews.transport.certificates import LOOK_EVERY, ServerContext


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def loop():
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.fixture
def files(tmp_path, authority):
    """The paths of a certificate and its key."""
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    for source, path in zip(authority.issue_pair("old", "localhost", "old"), paths, strict=True):
        shutil.copy(source, path)
    return paths


@pytest.fixture
def server(loop, files):
    server = ServerContext(Endpoint.parse(f"tls:0?cert={files[0]}&key={files[1]}"))
    server.start(loop)
    yield server
    server.close()


def put(source, path):
    """As certbot and others do: written beside, then renamed over."""
    beside = path.with_name("beside")
    shutil.copy(source, beside)
    os.replace(beside, path)


def served(server, authority):
    """Which certificate new connections get."""
    done = shake(server.context, authority.trusting())
    assert done.worked
    return done.names[-1]


def warnings(caplog):
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def test_renewed_files_are_in_use_within_5_seconds(server, authority, loop, files):
    context = server.context
    loop.advance(100)
    assert server.context is context
    for source, path in zip(authority.issue_pair("new", "localhost", "new"), files, strict=True):
        put(source, path)
    assert served(server, authority) == "old"
    loop.advance(5)
    assert served(server, authority) == "new"


def test_a_connection_keeps_the_context_that_it_began_with(server, authority, loop, files):
    done = shake(server.context, authority.trusting())
    for source, path in zip(authority.issue_pair("new", "localhost", "new"), files, strict=True):
        put(source, path)
    loop.advance(5)
    done.server_tls.write(b"still here")
    assert done.server_tls.context is not server.context


@pytest.mark.parametrize("first", [0, 1], ids=["certificate first", "key first"])
def test_half_a_pair_is_told_once_and_in_use_when_the_other_half_is_there(
    server, authority, loop, files, caplog, first
):
    new = authority.issue_pair("new", "localhost", "new")
    put(new[first], files[first])
    loop.advance(60)
    assert served(server, authority) == "old"
    [warning] = warnings(caplog)
    assert "the changed certificates cannot be used, the old stay: the key in key=" in warning
    assert "does not belong to the first certificate" in warning
    put(new[1 - first], files[1 - first])
    loop.advance(LOOK_EVERY)
    assert served(server, authority) == "new"
    assert len(warnings(caplog)) == 1


def test_each_broken_change_is_told_once_and_the_old_stays(server, authority, loop, files, caplog):
    cert, _ = files
    good = cert.read_bytes()
    for number, (content, words) in enumerate(
        [(b"", "there is no PEM certificate"), (good[:150], "is damaged"), (b"hello", "no PEM certificate")], 1
    ):
        cert.write_bytes(content)
        loop.advance(60)
        assert len(warnings(caplog)) == number
        assert words in warnings(caplog)[-1]
        assert served(server, authority) == "old"
    cert.unlink()
    loop.advance(60)
    assert "no such file or directory" in warnings(caplog)[-1]
    cert.write_bytes(good)
    loop.advance(60)
    assert len(warnings(caplog)) == 4
    assert served(server, authority) == "old"


def test_the_same_broken_file_twice_is_told_twice(authority, loop, tmp_path, caplog):
    good, link = authority.issue("good.pem", "localhost", "good"), tmp_path / "now.pem"
    (tmp_path / "broken.pem").write_bytes(b"")
    link.symlink_to(good)
    server = ServerContext(Endpoint.parse(f"tls:0?cert={link}"))
    server.start(loop)
    for target in ("broken.pem", good, "broken.pem", good):
        link.unlink()
        link.symlink_to(target)
        loop.advance(60)
    assert len(warnings(caplog)) == 2
    server.close()


def test_a_directory_that_is_swapped_by_a_symbolic_link(authority, loop, tmp_path):
    """Kubernetes: cert.pem -> ..data/cert.pem, and ..data -> a directory, which is what changes."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        shutil.copy(authority.issue(f"k8s-{name}.pem", "localhost", name), tmp_path / name / "tls.pem")
    (tmp_path / "..data").symlink_to("old")
    (tmp_path / "tls.pem").symlink_to("..data/tls.pem")
    server = ServerContext(Endpoint.parse(f"tls:0?cert={tmp_path}/tls.pem"))
    server.start(loop)
    assert served(server, authority) == "old"
    (tmp_path / "next").symlink_to("new")
    os.replace(tmp_path / "next", tmp_path / "..data")
    loop.advance(5)
    assert served(server, authority) == "new"
    server.close()


def test_one_of_several_and_their_names(authority, loop, tmp_path):
    paths = tmp_path / "1.pem", tmp_path / "2.pem"
    shutil.copy(authority.issue("one.pem", "localhost", "one"), paths[0])
    shutil.copy(authority.issue("two.pem", "two.example"), paths[1])
    server = ServerContext(Endpoint.parse(f"tls:0?cert={paths[0]}&cert={paths[1]}"))
    put(authority.issue("three.pem", "three.example"), paths[1])
    server.check()
    client = authority.trusting()
    assert shake(server.context, client, "three.example").worked
    assert not shake(server.context, client, "two.example").worked
    assert served(server, authority) == "one"


def test_the_authorities_of_clients_are_renewed_too(authority, tmp_path):
    trusted = tmp_path / "clients.pem"
    other = Authority(tmp_path)
    shutil.copy(other.path, trusted)
    cert = authority.issue("s.pem", "localhost")
    server = ServerContext(Endpoint.parse(f"tls:0?cert={cert}&client_ca={trusted}"))
    client = authority.trusting()
    client.load_cert_chain(authority.issue("me.pem", "me"))
    before = shake(server.context, client)
    assert not before.worked
    put(authority.path, trusted)
    server.check()
    assert shake(server.context, client).worked


def test_a_session_from_before_does_not_get_around_new_authorities(authority, tmp_path):
    trusted = tmp_path / "clients.pem"
    shutil.copy(authority.path, trusted)
    cert = authority.issue("s.pem", "localhost")
    server = ServerContext(Endpoint.parse(f"tls:0?cert={cert}&client_ca={trusted}"))
    client = authority.trusting()
    client.load_cert_chain(authority.issue("me.pem", "me"))
    before = shake(server.context, client)
    put(Authority(tmp_path).path, trusted)
    server.check()
    after = shake(server.context, client, session=before.client_tls.session)
    assert not after.client_tls.session_reused
    assert not after.worked


def test_a_thousand_renewals_leave_one_context(server, authority, files):
    new, old = authority.issue_pair("new", "localhost", "new"), authority.issue_pair("old", "localhost", "old")
    contexts = [weakref.ref(server.context)]
    gc.disable()  # nothing is left to it: there are no cycles
    try:
        for number in range(1000):
            for source, path in zip((old, new)[number % 2], files, strict=True):
                put(source, path)
            server.check()
            assert contexts[-1]() is not server.context
            contexts.append(weakref.ref(server.context))
        assert [ref() for ref in contexts if ref() is not None] == [server.context]
    finally:
        gc.enable()


def test_a_look_that_fails_in_an_unforeseen_way_is_told_and_the_next_comes(
    server, authority, loop, files, monkeypatch, caplog
):
    def fail(*args):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(certificates, "load_pair", fail)
    put(authority.issue_pair("new", "localhost", "new")[0], files[0])
    put(authority.issue_pair("new", "localhost", "new")[1], files[1])
    put(authority.directory / "new.pem", files[0])
    loop.advance(60)
    [warning] = warnings(caplog)
    assert "RuntimeError('unforeseen')" in warning
    monkeypatch.undo()
    loop.advance(5)
    assert served(server, authority) == "new"


def test_closed_it_looks_no_more_and_can_be_closed_and_started_again(server, authority, loop, files):
    server.close()
    server.close()
    for source, path in zip(authority.issue_pair("new", "localhost", "new"), files, strict=True):
        put(source, path)
    loop.advance(60)
    assert served(server, authority) == "old"
    server.start(loop)
    server.start(loop)
    loop.advance(5)
    assert served(server, authority) == "new"
    server.close()
    for source, path in zip(authority.issue_pair("old", "localhost", "old"), files, strict=True):
        put(source, path)
    loop.advance(60)
    assert served(server, authority) == "new"


@pytest.mark.parametrize("make", [trews.EventLoop, asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_on_every_loop(authority, files, make, monkeypatch):
    monkeypatch.setattr(certificates, "LOOK_EVERY", 0.01)

    async def main():
        server = ServerContext(Endpoint.parse(f"tls:0?cert={files[0]}&key={files[1]}"))
        server.start(asyncio.get_running_loop())
        before = server.context
        for source, path in zip(authority.issue_pair("new", "localhost", "new"), files, strict=True):
            put(source, path)
        while server.context is before:
            await asyncio.sleep(0.01)
        server.close()
        assert served(server, authority) == "new"

    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())
