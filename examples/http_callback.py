"""Answers that come later, without `async`: who polls is answered when somebody posts.

Run it, then try:  curl localhost:8080 & curl -d news localhost:8080
                   curl localhost:8080/slow     (an answer in pieces, by a timer)
"""

import trews
from trews import http


class News:
    def __init__(self):
        self.waiting = []

    def __call__(self, request):
        if request.path == "/slow":
            self.slowly(request)
        elif request.method == "POST":
            return self.tell(request.text)
        elif request.method == "GET":
            self.waiting = [*self.there(), request]
            request.defer()  # the answer comes later, by respond()
        else:
            return 405

    def there(self):
        return [request for request in self.waiting if not request.is_disconnected]

    def tell(self, text):
        waiting, self.waiting = self.there(), []
        for request in waiting:
            request.respond(f"{text}\n")
        return f"told {len(waiting)}\n"

    def slowly(self, request):
        request.defer()
        request.start(200, {"Content-Type": "text/plain"})
        left = ["tick", "tack", "toe"]

        def step():
            if request.is_disconnected:
                timer.cancel()
            elif left:
                request.write(left.pop(0) + "\n")
            else:
                request.finish()
                timer.cancel()

        timer = trews.every(1, step)


if __name__ == "__main__":
    http.serve(News(), "localhost:8080", max_body=1000)
