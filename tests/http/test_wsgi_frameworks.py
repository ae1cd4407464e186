"""Flask and Django, as their users write: forms, cookies, uploads, streams, files, errors."""

from __future__ import annotations

import json

import pytest

from tests.http.gateways import MODES, ask, get, parts

django = pytest.importorskip("django")
flask = pytest.importorskip("flask")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")

UPLOAD = bytes(range(256)) * 6000


@pytest.fixture(params=list(MODES.values()), ids=list(MODES))
def threads(request):
    return request.param


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "page.bin"
    path.write_bytes(UPLOAD)
    return path


def flask_app(page):
    app = flask.Flask("tried")
    app.config["SECRET_KEY"] = "of the tests"

    @app.get("/hello/<name>")
    def hello(name):
        return f"Hello, {name}, by {flask.request.args.get('by')}!"

    @app.post("/form")
    def form():
        return flask.jsonify(dict(flask.request.form))

    @app.post("/upload")
    def upload():
        return str(len(flask.request.files["file"].read()))

    @app.post("/raw")
    def raw():
        return str(len(flask.request.get_data()))

    @app.get("/cookies")
    def cookies():
        response = flask.make_response(flask.request.cookies.get("a", "none"))
        response.set_cookie("b", "c", httponly=True)
        response.set_cookie("d", "e")
        return response

    @app.get("/stream")
    def stream():
        return flask.Response((f"{number}\n" for number in range(1000)), mimetype="text/plain")

    @app.get("/file")
    def file():
        return flask.send_file(page, conditional=False)

    @app.get("/fail")
    def fail():
        raise ValueError("mine")

    @app.get("/where")
    def where():
        return flask.jsonify([flask.request.url, flask.request.host, flask.request.remote_addr, flask.request.scheme])

    return app


def django_app(page):
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
    from django.urls import path

    def hello(request, name):
        return HttpResponse(f"Hello, {name}, by {request.GET.get('by')}!")

    def form(request):
        return JsonResponse(request.POST.dict())

    def upload(request):
        return HttpResponse(str(request.FILES["file"].size))

    def raw(request):
        return HttpResponse(str(len(request.read())))

    def cookies(request):
        response = HttpResponse(request.COOKIES.get("a", "none"))
        response.set_cookie("b", "c", httponly=True)
        response.set_cookie("d", "e")
        return response

    def stream(request):
        return StreamingHttpResponse((f"{number}\n" for number in range(1000)), content_type="text/plain")

    def file(request):
        return FileResponse(open(page, "rb"))

    def fail(request):
        raise ValueError("mine")

    def where(request):
        return JsonResponse(
            [request.build_absolute_uri(), request.get_host(), request.META["REMOTE_ADDR"], request.scheme], safe=False
        )

    class Urls:
        urlpatterns = (
            path("hello/<name>", hello),
            path("form", form),
            path("upload", upload),
            path("raw", raw),
            path("cookies", cookies),
            path("stream", stream),
            path("file", file),
            path("fail", fail),
            path("where", where),
        )

    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="of the tests",
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
            LOGGING_CONFIG=None,
        )
        django.setup(set_prefix=False)
    settings.ROOT_URLCONF = Urls
    return WSGIHandler()


@pytest.fixture(params=[flask_app, django_app], ids=["Flask", "Django"])
def app(request, page):
    return request.param(page)


def multipart(name, data):
    body = b"--cut\r\nContent-Disposition: form-data; name=file; filename=%b\r\n" % name
    body += b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n--cut--\r\n"
    return get("/upload", "Content-Type: multipart/form-data; boundary=cut", method="POST", body=body)


def test_a_page(app, threads):
    line, fields, body = parts(ask(app, get("/hello/J%C3%BCrgen?by=%26"), threads=threads))
    assert line == "HTTP/1.1 200 OK"
    assert fields["content-type"] == "text/html; charset=utf-8"
    assert body == "Hello, Jürgen, by &!".encode()
    assert fields["content-length"] == str(len(body))


def test_head(app, threads):
    answer = ask(app, get("/hello/a?by=b", method="HEAD"), threads=threads)
    assert answer.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: 15\r\n" in answer


def test_a_form(app, threads):
    request = get("/form", "Content-Type: application/x-www-form-urlencoded", method="POST", body=b"a=%C3%A9&b=+")
    assert json.loads(parts(ask(app, request, threads=threads))[2]) == {"a": "é", "b": " "}


def test_an_upload(app, threads):
    assert parts(ask(app, multipart(b"name", UPLOAD), threads=threads))[2] == str(len(UPLOAD)).encode()


def test_a_chunked_body(app, threads):
    request = b"POST /raw HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = ask(app, request, b"5\r\nabcde\r\n", b"3\r\nfgh\r\n0\r\n\r\n", threads=threads)
    # Django reads no body without a Content-Length.
    assert parts(answer)[2] in (b"8", b"0")
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_cookies(app, threads):
    answer = ask(app, get("/cookies", "Cookie: a=x", "Cookie: z=y"), threads=threads)
    assert parts(answer)[2] == b"x"
    answer = answer.replace(b":  ", b": ")  # Django begins the value with a space
    assert b"\r\nSet-Cookie: b=c; HttpOnly; Path=/\r\n" in answer
    assert b"\r\nSet-Cookie: d=e; Path=/\r\n" in answer


def test_a_stream(app, threads):
    _, fields, body = parts(ask(app, get("/stream"), threads=threads))
    assert fields["transfer-encoding"] == "chunked"
    assert body == b"".join(b"%d\n" % number for number in range(1000))


def test_a_file(app, threads):
    _, fields, body = parts(ask(app, get("/file"), threads=threads))
    assert fields["content-length"] == str(len(UPLOAD))
    assert body == UPLOAD


def test_an_error(app, threads):
    answer = ask(app, get("/fail"), threads=threads)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"mine" not in answer


def test_nothing_there(app, threads):
    assert ask(app, get("/nothing"), threads=threads).lower().startswith(b"http/1.1 404 not found\r\n")


def test_what_the_application_knows(app, threads):
    body = parts(ask(app, get("/where?a=b"), threads=threads))[2]
    assert json.loads(body) == ["http://example.org/where?a=b", "example.org", "127.0.0.1", "http"]


def test_a_debug_log_of_flask_goes_to_ours(threads, caplog, page):
    app = flask_app(page)

    @app.get("/log")
    def log():
        print("said", file=flask.request.environ["wsgi.errors"])
        return ""

    ask(app, get("/log"), threads=threads)
    assert "wsgi.errors: said" in caplog.text
