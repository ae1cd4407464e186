"""FastAPI and Starlette applications, as their users write them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging

import pytest

from tests.asgi import LOOPS, LastAsked, answers, body_of, get, on, post, serving
from tests.servers import until

fastapi = pytest.importorskip("fastapi")
starlette = pytest.importorskip("starlette")

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request  # noqa: E402
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse  # noqa: E402
from pydantic import BaseModel  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.background import BackgroundTask  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: E402
from starlette.middleware.gzip import GZipMiddleware  # noqa: E402
from starlette.routing import Mount, Route  # noqa: E402
from starlette.staticfiles import StaticFiles  # noqa: E402

every_loop = pytest.mark.parametrize("loop", LOOPS)


class Item(BaseModel):
    name: str
    price: float


@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.notes = ["up"]
    yield {"shared": app.state.notes}
    app.state.notes.append("down")


def shop(notes=None):
    app = FastAPI(lifespan=lifespan)
    notes = [] if notes is None else notes

    async def session():
        notes.append("open")
        try:
            yield "session"
        finally:
            notes.append("closed")

    @app.middleware("http")
    async def stamp(request, call_next):
        response = await call_next(request)
        response.headers["X-Stamp"] = request.url.path
        return response

    @app.get("/items/{number}")
    async def read(number: int, q: str | None = None):
        return {"number": number, "q": q}

    @app.get("/plain")
    def plain():
        return "from a thread"

    @app.post("/items")
    async def create(item: Item, held: str = Depends(session)):
        notes.append(held)
        return {"name": item.name, "double": item.price * 2}

    @app.get("/missing")
    async def missing():
        raise HTTPException(404, "not here", headers={"X-Why": "because"})

    @app.get("/fails")
    async def fails():
        raise ValueError("no")

    @app.get("/later")
    async def later(tasks: BackgroundTasks):
        tasks.add_task(notes.append, "later")
        return "now"

    @app.get("/stream")
    async def stream():
        async def pieces():
            for number in range(3):
                yield f"{number}\n"
                await asyncio.sleep(0)

        return StreamingResponse(pieces(), media_type="text/plain")

    @app.get("/state")
    async def state(request: Request):
        return request.state.shared

    return app


# (request, what the head has, the body)
ASKED = [
    (get("/items/7?q=a%20b"), b"200 OK", {"number": 7, "q": "a b"}),
    (get("/plain"), b"x-stamp: /plain", "from a thread"),
    (
        post("/items", b'{"name": "tea", "price": 1.5}', "Content-Type: application/json"),
        b"200 OK",
        {"name": "tea", "double": 3.0},
    ),
    (get("/missing"), b"404 Not Found\r\nx-why: because", {"detail": "not here"}),
    (get("/nowhere"), b"404 Not Found", {"detail": "Not Found"}),
    (get("/later"), b"200 OK", "now"),
    (get("/state"), b"200 OK", ["up"]),
]


@every_loop
@pytest.mark.parametrize(("request_", "has", "expected"), ASKED, ids=[case[0].split()[1].decode() for case in ASKED])
def test_fastapi(loop, request_, has, expected):
    answer = answers(loop, shop(), request_)
    assert has in answer.partition(b"\r\n\r\n")[0]
    content = body_of(answer)
    if b"chunked" in answer:  # which the middleware makes of it
        content = content.split(b"\r\n")[1]
    assert json.loads(content) == expected


def test_what_pydantic_refuses():
    answer = answers("trews", shop(), post("/items", b'{"name": 3}', "Content-Type: application/json"))
    assert answer.startswith(b"HTTP/1.1 422 ")


def test_a_dependency_with_yield_is_closed():
    notes = []
    answers("trews", shop(notes), ASKED[2][0])
    assert notes == ["open", "session", "closed"]


def test_background_tasks_run():
    notes = []
    answers("trews", shop(notes), get("/later"))
    assert notes == ["later"]


@every_loop
def test_a_streaming_response(loop):
    answer = answers(loop, shop(), get("/stream"))
    assert b"transfer-encoding: chunked" in answer.lower()
    assert [line for line in body_of(answer).split(b"\r\n") if line.endswith(b"\n")] == [b"0\n", b"1\n", b"2\n"]


def test_an_endpoint_that_raises_is_a_500_with_a_traceback_in_the_log(caplog):
    answer = answers("trews", shop(), get("/fails"))
    assert answer.startswith(b"HTTP/1.1 500 ")
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert str(record.exc_info[1]) == "no"


def test_lifespan_of_fastapi():
    app = shop()

    async def main():
        async with serving(app):
            assert app.state.notes == ["up"]

    on("trews", main())
    assert app.state.notes == ["up", "down"]


def test_forms():
    pytest.importorskip("python_multipart", reason="python-multipart is not installed")

    async def form(request):
        return JSONResponse(dict(await request.form()))

    app = Starlette(routes=[Route("/", form, methods=["POST"])])
    fields = "Content-Type: application/x-www-form-urlencoded"
    assert json.loads(body_of(answers("trews", app, post("/", b"a=1&b=%20", fields)))) == {"a": "1", "b": " "}


# -- Starlette


def test_static_files_and_ranges(tmp_path):
    content = b"0123456789" * 20_000
    (tmp_path / "file.bin").write_bytes(content)
    app = Starlette(routes=[Mount("/static", StaticFiles(directory=tmp_path))])
    answer = answers("trews", app, get("/static/file.bin"))
    assert body_of(answer) == content
    assert b"Content-Length: 200000\r\n" in answer
    assert body_of(answers("trews", app, get("/static/file.bin", "Range: bytes=5-9"))) == b"56789"
    assert answers("trews", app, get("/static/../asgi.py")).startswith(b"HTTP/1.1 404 ")


@every_loop
def test_a_file_response_with_a_task_behind_it(loop, tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"x" * 500_000)
    notes = []

    async def file(request):
        return FileResponse(path, background=BackgroundTask(notes.append, "sent"))

    app = Starlette(routes=[Route("/", file)])
    assert body_of(answers(loop, app, get())) == b"x" * 500_000
    assert notes == ["sent"]


def test_gzip_and_base_middleware():
    class Both(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            await request.body()
            response = await call_next(request)
            response.headers["x-both"] = "yes"
            return response

    async def echo(request):
        return PlainTextResponse(await request.body())

    app = Starlette(
        routes=[Route("/", echo, methods=["POST"])], middleware=[Middleware(Both), Middleware(GZipMiddleware)]
    )
    answer = answers("trews", app, post("/", b"hello"))
    assert b"x-both: yes" in answer
    assert b"hello" in body_of(answer)
    zipped = answers("trews", app, post("/", b"hello" * 1000, "Accept-Encoding: gzip"))
    assert b"content-encoding: gzip" in zipped


@every_loop
def test_is_disconnected(loop):
    notes = []

    async def wait(request):
        while not await request.is_disconnected():
            notes.append("here")
            await asyncio.sleep(0.001)
        notes.append("gone")
        return PlainTextResponse("to nobody")

    async def main():
        async with serving(Starlette(routes=[Route("/", wait)])) as server:
            async with LastAsked(server) as client:
                client.write(get())
                await until(lambda: len(notes) > 3)
                client.abort()
            await until(lambda: "gone" in notes)

    on(loop, main())


@every_loop
def test_a_client_that_leaves_a_streaming_response(loop, caplog):
    notes = []

    async def stream(request):
        async def pieces():
            while True:
                yield b"x" * 50_000

        return StreamingResponse(pieces(), background=BackgroundTask(notes.append, "behind"))

    async def main():
        async with serving(Starlette(routes=[Route("/", stream)])) as server:
            async with LastAsked(server) as client:
                client.write(get())
                await client.reader.readexactly(1000)
                client.abort()
            await until(lambda: not server.connections)
            await server.stop(grace=10)

    on(loop, main())
    assert notes == []
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@every_loop
def test_a_background_task_lets_the_next_request_pass(loop):
    go = asyncio.Event()
    notes = []

    async def work():
        await go.wait()
        notes.append("done")

    async def page(request):
        return PlainTextResponse("ok", background=BackgroundTask(work))

    async def main():
        async with serving(Starlette(routes=[Route("/", page)])) as server, LastAsked(server) as client:
            for _ in range(3):
                client.write(get(last=False))
                assert (await client.answer())[1] == b"ok"
            assert not notes
            go.set()
            await until(lambda: len(notes) == 3)

    on(loop, main())


def test_an_upload_that_is_too_large_is_413_though_the_framework_would_say_500(caplog):
    async def take(request):
        return PlainTextResponse(str(len(await request.body())))

    app = Starlette(routes=[Route("/", take, methods=["POST"])])
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = answers("trews", app, head + b"b\r\n01234567890\r\n0\r\n\r\n", {"max_body": 10})
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_early_hints_of_starlette():
    async def page(request):
        await request.send_early_hints("</a.css>; rel=preload; as=style")
        return PlainTextResponse("ok")

    answer = answers("trews", Starlette(routes=[Route("/", page)]), get())
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload; as=style\r\n\r\nHTTP/1.1 200 ")
