"""A small JSON API: one class, a function for each method. HEAD, OPTIONS and 405 come by themselves.

Run it, then try:  curl -d '{"title": "tea"}' localhost:8080; curl localhost:8080; curl -X DELETE localhost:8080/1
"""

from trews import http


class Items(http.Resource):
    def __init__(self):
        self.items = {}
        self.last = 0

    def get(self, request):
        if request.path == "/":
            return self.items
        return self.items[self.number(request)]

    def post(self, request):
        item = request.json()
        if not isinstance(item, dict) or "title" not in item:
            raise http.Error(400, "an item has a title\n")
        self.last += 1
        self.items[self.last] = item
        return 201, item, {"Location": f"/{self.last}"}

    def delete(self, request):
        del self.items[self.number(request)]
        return 204

    def number(self, request):
        number = request.path.removeprefix("/")
        if number.isascii() and number.isdigit() and int(number) in self.items:
            return int(number)
        raise http.Error(404, "no such item\n")


if __name__ == "__main__":
    http.serve(Items(), "localhost:8080")
