"""Resource: a handler that is a class with a function for each method, as `http.server`, Tornado and Django have it.

It is one object for all requests, so what is set on `self` is shared by them; what is of one request is on the request.
It knows no paths: a router, or `request.path`, leads to it.

Source: RFC 9110, 9.3 (methods), 15.5.6 (405), 10.2.1 (Allow).
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from trews.names import takes

if TYPE_CHECKING:
    from trews.http.request import Request


class Resource:
    """A handler with a function a method: `def get(self, request)`, `async def post(self, request)`, …

    Each is what a handler may be: a plain one gets the body read first, an `async` one starts at the head. Without a
    `head`, HEAD is answered by `get`; without an `options`, OPTIONS by the field Allow. Where there is no function, the
    answer is 405, with Allow.

        http.serve(Items(), 8080)

    Attributes:
        methods: those that a function may be there for. More may be added:
            `methods = (*http.Resource.methods, "LOCK")`. What is not among them is not looked up on the object.
        starts_at_head: whether one of the functions is `async`.
    """

    methods: ClassVar[tuple[str, ...]] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    starts_at_head: ClassVar[bool] = False
    _names: ClassVar[dict[str, str]] = {}  # of the function for a method
    _plain: ClassVar[frozenset[str]] = frozenset()  # the methods whose functions get the body first
    _allow: ClassVar[str] = "OPTIONS"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_names(cls)
        names = {method: method.lower() for method in cls.methods if callable(getattr(cls, method.lower(), None))}
        if "GET" in names:
            names.setdefault("HEAD", "get")
        for name in dict.fromkeys(names.values()):
            _check_arguments(cls, name)
        functions = {method: getattr(cls, name) for method, name in names.items()}
        cls._names = names
        cls._plain = frozenset(m for m, function in functions.items() if not inspect.iscoroutinefunction(function))
        cls.starts_at_head = len(cls._plain) < len(names)
        cls._allow = ", ".join(dict.fromkeys((*(method for method in cls.methods if method in names), "OPTIONS")))

    def __call__(self, request: Request) -> Any:
        """Answer a request, with the function for its method."""
        name = self._names.get(request.method)
        if name is None:
            return (204 if request.method == "OPTIONS" else 405), None, {"Allow": self._allow}
        function = getattr(self, name)
        if self.starts_at_head and request.method in self._plain and request._body is not None:
            return _after_body(function, request)
        return function(request)


async def _after_body(function: Any, request: Request) -> Any:
    """A plain function beside an `async` one: the body is read for it here."""
    await request.read()
    result = function(request)
    return await result if inspect.isawaitable(result) else result


def _check_names(cls: type[Resource]) -> None:
    """Refuse names by which other libraries have it: such a function would never be called."""
    for name in vars(cls):
        method = name.removeprefix("do_").removeprefix("on_").upper()
        if method in cls.methods and name != method.lower():
            raise TypeError(
                f"{cls.__qualname__}.{name} is never called: the function for {method} is {method.lower()}()"
            )


def _check_arguments(cls: type[Resource], name: str) -> None:
    """Refuse a function that cannot be called with a request: each request would be a 500."""
    found = inspect.getattr_static(cls, name)
    if isinstance(found, (staticmethod, classmethod)):
        count, right = 1, "request"
        found = getattr(cls, name)
    else:
        count, right = 2, "self, request"
    if inspect.isroutine(found) and not takes(found, count):
        raise TypeError(f"{cls.__qualname__}.{name} is called with the request: write `def {name}({right})`")
