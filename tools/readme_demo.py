"""Run README's demo command, hold a chat on it by two telnets, end it with Ctrl-C.

Run as `python tools/readme_demo.py CHECKOUT COMMAND` with a Python that has pexpect. CHECKOUT is a clean
one: the command (from readme_commands.py) makes its own virtual environment there. The demo's ways of
speaking that this relies on: it prints `telnet HOST PORT` when it is ready; a first line from someone
who joins is the nickname; what one says comes to the other with that nickname before it; joining and
leaving are announced with it.
"""

from __future__ import annotations

import sys

import pexpect

INSTALL_TIMEOUT = 300
ANSWER_TIMEOUT = 20


def telnet(host: str, port: str) -> pexpect.spawn[str]:
    client = pexpect.spawn("telnet", [host, port], encoding="utf-8", timeout=ANSWER_TIMEOUT, echo=False)
    client.logfile_read = sys.stdout
    client.expect("Escape character is")
    return client


def chat(host: str, port: str) -> list[pexpect.spawn[str]]:
    """Two people join, each hears the other, one leaves abruptly and comes back."""
    alice = telnet(host, port)
    alice.sendline("alice")
    bob = telnet(host, port)
    bob.sendline("bob")
    alice.expect("bob")  # the notice that he joined
    alice.sendline("good morning")
    bob.expect("alice.*good morning")
    bob.sendline("and to you")
    alice.expect("bob.*and to you")
    bob.close(force=True)
    alice.expect("bob")  # the notice that he left
    bob = telnet(host, port)
    bob.sendline("bob")
    alice.expect("bob")
    return [alice, bob]


def main() -> int:
    checkout, line = sys.argv[1:]
    print(f"$ {line}", flush=True)
    demo = pexpect.spawn(
        "bash", ["-c", line], cwd=checkout, encoding="utf-8", timeout=INSTALL_TIMEOUT, dimensions=(50, 200)
    )
    demo.logfile_read = sys.stdout
    demo.expect(r"telnet (\S+) (\d+)")
    assert demo.match
    people = chat(demo.match[1], demo.match[2])
    demo.sendintr()
    for person in people:
        person.expect("Connection closed by foreign host")
        person.close()
    demo.expect(pexpect.EOF, timeout=ANSWER_TIMEOUT)
    demo.close()
    print(f"\ndemo: two people chatted; it ended with status {demo.exitstatus}")
    return 0 if demo.exitstatus == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
