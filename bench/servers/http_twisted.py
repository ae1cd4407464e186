"""Twisted's web server, on its epoll reactor (its default on Linux)."""

from options import LARGE, PIECE, PIECES, TEXT, options
from twisted.internet import reactor
from twisted.web import resource, server

told = options()


class Hello(resource.Resource):
    isLeaf = True

    def render_GET(self, request):
        return TEXT


class Size(Hello):
    def render_GET(self, request):
        return b"%d" % len(request.content.read())

    render_POST = render_GET


class Large(Hello):
    def render_GET(self, request):
        return LARGE


class Pieces(Hello):
    def render_GET(self, request):
        for _ in range(PIECES):
            request.write(PIECE)
        request.finish()
        return server.NOT_DONE_YET


site = server.Site(globals()[told.application.capitalize()]())
site.noisy = False
reactor.listenTCP(told.port, site, backlog=1024, interface="127.0.0.1")
reactor.run()
