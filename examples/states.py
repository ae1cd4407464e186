"""A line protocol with states: a method for each, and `on_read` is bound to the one that comes next.

Run it, then try:  telnet localhost 4040   (the user is alice, the password is secret)
"""

import trews
from trews.framing import Line

PASSWORDS = {"alice": "secret"}


class Login(trews.Connection):
    framer = Line(encoding="utf-8")
    max_message = 1024
    user = ""

    def on_connect(self):
        self.expect("user:", self.on_user)

    def expect(self, prompt, state):
        self.send(prompt)
        self.on_read = state

    def on_user(self, line):
        self.user = line
        self.expect("password:", self.on_password)

    def on_password(self, line):
        if PASSWORDS.get(self.user) == line:
            self.expect(f"welcome, {self.user}: whoami, or quit", self.on_command)
        else:
            self.expect("wrong, try again; user:", self.on_user)

    def on_command(self, line):
        if line == "whoami":
            self.send(self.user)
        elif line == "quit":
            self.send("goodbye")
            self.close()
        else:
            self.send(f"there is no {line!r}: whoami, or quit")


if __name__ == "__main__":
    trews.serve(Login, "localhost:4040")
