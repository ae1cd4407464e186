"""A function for each method: which is called, when, and what is answered for those that are not there."""

import pytest

from trews import http


class Plain(http.Resource):
    def get(self, request):
        return f"got {request.path}"

    def post(self, request):
        return 201, request.content


class Mixed(http.Resource):
    def __init__(self):
        self.seen = []

    def get(self, request):
        return "got"

    def put(self, request):
        return request.content

    async def post(self, request):
        with pytest.raises(RuntimeError, match="not read yet"):
            self.seen.append(request.content)
        self.seen.append(b"")
        return await request.read()


def test_each_method_has_its_function():
    client = http.test_client(Plain())
    assert client.get("/a").text == "got /a"
    reply = client.post("/", data=b"new")
    assert (reply.status, reply.content) == (201, b"new")


def test_head_is_answered_by_get():
    reply = http.test_client(Plain()).head("/a")
    assert (reply.status, reply.headers["Content-Length"], reply.content) == (200, "6", b"")


def test_head_may_have_its_own():
    class Own(Plain):
        def head(self, request):
            return 204

    assert http.test_client(Own()).head("/").status == 204


def test_options_says_what_there_is():
    reply = http.test_client(Plain()).options("/")
    assert (reply.status, reply.headers["Allow"], reply.content) == (204, "GET, HEAD, POST, OPTIONS", b"")
    assert http.test_client(Mixed()).options("*").headers["Allow"] == "GET, HEAD, POST, PUT, OPTIONS"


def test_options_may_have_its_own():
    class Own(Plain):
        def options(self, request):
            return "mine"

    assert http.test_client(Own()).options("/").text == "mine"


@pytest.mark.parametrize("method", ["DELETE", "TRACE", "get", "LOCK", "__INIT__", "METHODS", "SEEN"])
def test_others_are_not_allowed(method):
    reply = http.test_client(Mixed()).request(method, "/")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD, POST, PUT, OPTIONS")
    assert http.test_client(Plain()).request(method, "/", data=b"x").status == 405


def test_more_methods_may_be_added():
    class Dav(Plain):
        methods = (*http.Resource.methods, "LOCK")

        def lock(self, request):
            return "locked"

    client = http.test_client(Dav())
    assert client.request("LOCK", "/").text == "locked"
    assert client.options("/").headers["Allow"] == "GET, HEAD, POST, LOCK, OPTIONS"


@pytest.mark.parametrize("size", [0, 5, 500_000])
def test_a_plain_function_has_its_body_also_beside_an_async_one(size):
    data = b"x" * size
    assert Mixed.starts_at_head
    assert not Plain.starts_at_head
    for more in ({"data": data}, {"data": [data]}, {"data": data, "headers": {"Expect": "100-continue"}}):
        client = http.test_client(Mixed())
        assert client.put("/", **more).content == data
        assert client.get("/", **more).text == "got"
        assert client.head("/").status == 200


def test_an_async_function_starts_at_the_head():
    mixed = Mixed()
    assert http.test_client(mixed).post("/", data=b"x").content == b"x"
    assert mixed.seen == [b""]


def test_a_body_that_is_too_large_is_refused_for_both():
    client = http.test_client(Mixed(), max_body=10)
    assert client.put("/", data=[b"x" * 11]).status == 413
    assert client.post("/", data=[b"x" * 11]).status == 413


def test_functions_are_inherited():
    class More(Mixed):
        def delete(self, request):
            return 204

    client = http.test_client(More())
    assert client.delete("/").status == 204
    assert client.put("/", data=b"x").content == b"x"


def test_one_object_is_there_for_all_requests():
    class Counter(http.Resource):
        count = 0

        def post(self, request):
            self.count += 1
            return str(self.count)

    client = http.test_client(Counter())
    assert [client.post("/").text for _ in range(3)] == ["1", "2", "3"]


@pytest.mark.parametrize("name", ["GET", "do_GET", "on_post", "Delete"])
def test_names_that_other_libraries_have_are_refused(name):
    with pytest.raises(TypeError, match=rf"X\.{name} is never called: the function for [A-Z]+ is [a-z]+\(\)"):
        type("X", (http.Resource,), {name: lambda self, request: ""})


def test_the_class_is_no_handler():
    with pytest.raises(TypeError, match=r"an HTTP handler is .* not the class Plain; Plain\(\) may be one"):
        http.Server(Plain)


@pytest.mark.parametrize(
    ("function", "right"),
    [
        (lambda self: "", "self, request"),
        (lambda: "", "self, request"),
        (lambda self, request, key: "", "self, request"),
        (staticmethod(lambda: ""), "request"),
        (classmethod(lambda cls: ""), "request"),
    ],
)
def test_a_function_that_cannot_take_the_request_is_refused(function, right):
    with pytest.raises(TypeError, match=rf"R\.get is called with the request: write `def get\({right}\)`"):
        type("R", (http.Resource,), {"get": function})


@pytest.mark.parametrize(
    "function",
    [
        lambda self, request: "got",
        lambda self, request, key="": "got",
        lambda *args: "got",
        staticmethod(lambda request: "got"),
        classmethod(lambda cls, request: "got"),
    ],
)
def test_one_that_can_is_not(function):
    resource = type("R", (http.Resource,), {"get": function})
    assert http.test_client(resource()).get("/").text == "got"
