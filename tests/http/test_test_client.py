"""The test client: the app is asked in memory, by real bytes; nothing waits, nothing hangs, what is wrong fails."""

import asyncio
import concurrent.futures
import threading

import pytest

import trews
from trews import http


def echo(request):
    return {
        "method": request.method,
        "target": request.target.decode(),
        "headers": dict(request.headers.items()),
        "content": request.content.decode(),
        "client": list(request.client),
    }


# -- asking


def test_a_request_and_its_answer():
    client = http.test_client(echo)
    reply = client.post("/x?y=1", json=[1], headers={"A": "b"})
    assert (reply.status, reply.reason, reply.version) == (200, "OK", "1.1")
    assert reply.headers["content-type"] == "application/json"
    asked = reply.json()
    assert (asked["method"], asked["target"], asked["content"]) == ("POST", "/x?y=1", "[1]")
    assert (asked["headers"]["A"], asked["client"]) == ("b", ["127.0.0.1", 50000])


@pytest.mark.parametrize("name", ["get", "post", "put", "patch", "delete", "options"])
def test_a_function_a_verb(name):
    assert getattr(http.test_client(echo), name)("/").json()["method"] == name.upper()


def test_head_has_no_body():
    reply = http.test_client(echo).head("/")
    assert (reply.status, reply.content) == (200, b"")
    assert int(reply.headers["Content-Length"]) > 0


def test_the_client_has_the_address_that_it_is_given():
    assert http.test_client(echo, client=("192.0.2.7", 9)).get("/").json()["client"] == ["192.0.2.7", 9]


def test_settings_are_those_of_the_server():
    assert http.test_client(echo, max_body=3).post("/", data=b"four").status == 413
    with pytest.raises(TypeError, match="no_such"):
        http.test_client(echo, no_such=1)


def test_a_server_of_ones_own():
    class Shop(http.Server):
        def on_start(self):
            self.stock = 3

    def stock(request):
        return str(request.connection.server.stock)

    assert http.test_client(Shop(stock)).get("/").text == "3"
    with pytest.raises(TypeError, match="has its settings already: max_body"):
        http.test_client(Shop(stock), max_body=1)
    with pytest.raises(ValueError, match="listens nowhere"):
        http.test_client(Shop(stock).listen("memory:shop"))


def test_what_is_no_app_is_refused():
    with pytest.raises(TypeError, match="an HTTP handler is a function of a request"):
        http.test_client("app")


def test_a_connection_is_kept_alive_and_replaced_when_it_has_ended():
    def who(request):
        return (200, str(id(request.connection)), {"Connection": "close"} if request.path == "/close" else {})

    client = http.test_client(who)
    first = client.get("/").text
    assert client.get("/close").text == first
    assert client.get("/").text != first


def test_an_idle_connection_that_the_server_has_closed_is_not_used():
    client = http.test_client(lambda request: "hi", keep_alive_timeout=5)
    client.get("/")
    client.advance(100)
    assert client.get("/").text == "hi"


def test_bodies_larger_than_all_buffers():
    async def back(request):
        return await request.read()

    data = bytes(range(256)) * 4096
    for app in (lambda request: request.content, back):
        reply = http.test_client(app).post("/", data=data)
        assert reply.content == data
        reply = http.test_client(app).post("/", data=iter([data[:500_000], data[500_000:]]))
        assert reply.content == data


def test_an_early_answer_to_a_body_that_nobody_reads():
    async def no(request):
        return 403, "no"

    client = http.test_client(no)
    for _ in range(2):
        assert client.post("/", data=b"x" * 5_000_000).status == 403
        assert client.get("/").status == 403


def test_interim_answers():
    def app(request):
        request.inform(103, [("Link", "</a.css>")])
        return "ok"

    reply = http.test_client(app).get("/")
    assert [(status, fields["Link"]) for status, fields in reply.informed] == [(103, "</a.css>")]


def test_who_expects_100_sends_the_body_when_it_is_told():
    async def app(request):
        return await request.read() if request.path == "/read" else 417

    client = http.test_client(app)
    reply = client.post("/read", data=b"body", headers={"Expect": "100-continue"})
    assert (reply.content, [status for status, _ in reply.informed]) == (b"body", [100])
    reply = client.post("/", data=b"body", headers={"Expect": "100-continue"})
    assert (reply.status, reply.informed) == (417, [])
    assert client.get("/").status == 417


# -- cookies


def login(request):
    if request.path == "/login":
        response = http.Response("in")
        response.set_cookie("session", "abc")
        return response
    if request.path == "/logout":
        response = http.Response("out")
        response.set_cookie("session", "", max_age=0)
        return response
    return request.cookies


def test_cookies_are_kept():
    client = http.test_client(login)
    assert client.get("/").json() == {}
    client.get("/login")
    assert client.get("/").json() == {"session": "abc"} == client.cookies
    client.cookies["more"] = "1"
    assert client.get("/").json() == {"session": "abc", "more": "1"}
    client.get("/logout")
    assert client.get("/").json() == {"more": "1"}


def test_cookies_need_not_be_kept():
    client = http.test_client(login, keep_cookies=False)
    client.get("/login")
    assert client.get("/").json() == {}


# -- time


def test_time_is_virtual():
    async def slow(request):
        await asyncio.sleep(3000)
        return 204

    assert http.test_client(slow, timeout=3600).get("/").status == 204


def test_a_plain_handler_that_answers_later():
    def later(request):
        request.defer()
        trews.after(30, request.respond, "at last")

    assert http.test_client(later).get("/").text == "at last"


def test_work_in_threads_is_waited_for():
    async def name(request):
        return (await asyncio.to_thread(threading.current_thread)).name

    with http.test_client(name) as client:
        assert client.get("/").text != threading.main_thread().name


def test_threads_that_an_app_says_it_has_are_waited_for():
    class Pooled:
        threads = 1

        def __init__(self):
            self.pool = concurrent.futures.ThreadPoolExecutor(1)

        def __call__(self, request):
            loop = asyncio.get_running_loop()
            request.defer()
            self.pool.submit(lambda: loop.call_soon_threadsafe(request.respond, "done"))

    app = Pooled()
    with app.pool:
        for _ in range(2):  # the second finds the thread there
            assert http.test_client(app, timeout=600).get("/").text == "done"


def test_what_an_app_does_after_its_answer_is_done_by_advance():
    seen = []

    async def app(request):
        request.start(200, {"Content-Length": "0"}).finish()
        await asyncio.sleep(30)
        seen.append(request.path)

    client = http.test_client(app)
    client.get("/a")
    assert seen == []
    client.advance(30)
    assert seen == ["/a"]
    client.close()


def test_it_works_inside_a_running_loop():
    async def app(request):
        await asyncio.sleep(5)
        return "hi"

    async def main():
        outer = asyncio.get_running_loop()
        assert http.test_client(app).get("/").text == "hi"
        assert asyncio.get_running_loop() is outer
        await asyncio.sleep(0)

    asyncio.run(main())


# -- streams


async def ticks(request):
    async def body():
        for count in range(3):
            await asyncio.sleep(1)
            yield f"{count}\n"

    return http.Response(body())


def test_a_stream_comes_in_pieces():
    client = http.test_client(ticks)
    with client.stream("GET", "/") as reply:
        assert reply.content == b""
        assert list(reply) == [b"0\n", b"1\n", b"2\n"]
        assert reply.content == b"0\n1\n2\n"
    assert client.get("/").text == "0\n1\n2\n"


def test_others_are_asked_while_a_stream_is_open():
    client = http.test_client(ticks)
    with client.stream("GET", "/") as one, client.stream("GET", "/") as other:
        assert [next(iter(one)), next(iter(other)), next(iter(one))] == [b"0\n", b"0\n", b"1\n"]
        assert client.get("/").text == "0\n1\n2\n"
        assert one.read() == b"0\n1\n2\n"


def test_who_leaves_a_stream_has_gone():
    seen = []

    async def app(request):
        request.start()
        request.write("hi")
        await request.disconnected()
        seen.append("gone")
        request.finish()

    client = http.test_client(app)
    with client.stream("GET", "/") as reply:
        assert next(iter(reply)) == b"hi"
        assert seen == []
    assert seen == ["gone"]
    client.close()


def test_an_upload_is_sent_as_it_is_read():
    order = []

    async def app(request):
        async for piece in request:
            order.append(("got", piece))
        return 204

    def pieces():
        for piece in (b"one", b"two"):
            order.append(("sent", piece))
            yield piece

    assert http.test_client(app).post("/", data=pieces()).status == 204
    assert order == [("sent", b"one"), ("got", b"one"), ("sent", b"two"), ("got", b"two")]
