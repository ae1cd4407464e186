"""A chat: the first line is a nickname, each line after it goes to all the others.

Run it, then join from several terminals:  telnet localhost 4040
(`trews demo` is a longer one, safe against what people type.)
"""

import trews
from trews.framing import Line


class Chat(trews.Connection):
    framer = Line(encoding="utf-8")
    nick = None

    def on_connect(self):
        self.send("What is your nickname?")

    def on_read(self, line):
        self.nick = line
        self.on_read = self.on_speech
        self.tell(f"* {self.nick} has joined")

    def on_speech(self, line):
        self.tell(f"{self.nick}: {line}")

    def on_close(self, reason):
        if self.nick:
            self.tell(f"* {self.nick} has left")

    def tell(self, text):
        self.server.broadcast(text, exclude=self)


if __name__ == "__main__":
    trews.serve(Chat, "localhost:4040")
