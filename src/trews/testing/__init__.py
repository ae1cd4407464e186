"""Testing network code without a network, without sleeping, and without leaks.

    wire            one connection on a wire that you hold the other end of
    pair            two connections joined in memory
    VirtualLoop     a loop whose clock jumps to the next deadline when nothing is left to do
    run             runs a coroutine on one
    no_leaks        fails if a socket, task or timer stays behind
    conformance     what every stream transport must do

Nothing in trews imports this, `import trews` neither: `from trews.testing import wire` in tests.
"""

from trews.testing.clock import run
from trews.testing.leaks import Leak, no_leaks
from trews.testing.pair import Link, pair
from trews.testing.wire import Wire, wire
from trews.virtual import VirtualLoop

__all__ = ["Leak", "Link", "VirtualLoop", "Wire", "no_leaks", "pair", "run", "wire"]
