"""Comparisons with peers, run by `python -m bench`. What the figures mean, and what disturbs them, is in README.md.

    __main__                     the command
    benchmark                    what one comparison is, and how its servers take turns
    measure                      time on the CPU, medians and ratios
    programs                     starting and stopping, what is missing
    loads                        the clients
    targets                      what trews must reach
    table, picture, report       what comes out
    raw, churn, idle, ...        one comparison each
    web, nginx                   what http, wsgi and asgi have in common, and what http and tls have
    servers/                     the peers, as short as their documentation writes them
    c/                           the floors and clients in C, compiled when they are needed

It is no part of the package that is installed, and nothing in that knows of it.
"""
