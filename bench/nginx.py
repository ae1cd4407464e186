"""nginx as a floor: one process, an answer for whatever is asked."""

from __future__ import annotations

from collections.abc import Sequence

from bench.programs import Lab

CONF = """
daemon off; master_process off; pid {folder}/nginx-{port}.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off; default_type text/plain; keepalive_requests 1000000000; tcp_nodelay on; client_max_body_size 0;
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        listen 127.0.0.1:{port} {listen} backlog=1024; {more}
        location / {{ {answer} }}
    }}
}}
"""

HELLO = 'return 200 "Hello, world!";'


def nginx(lab: Lab, port: int, answer: str = HELLO, listen: str = "", more: str = "") -> Sequence[str]:
    """The command of nginx.

    Args:
        answer: what a `location` says of it.
        listen: more of its `listen`.
        more: more of its `server`.
    """
    conf = lab.folder / f"nginx-{port}.conf"
    conf.write_text(CONF.format(folder=lab.folder, port=port, answer=answer, listen=listen, more=more))
    return [lab.program("nginx"), "-c", str(conf), "-p", str(lab.folder), "-e", "stderr"]


def file_of(lab: Lab, name: str, size: int) -> str:
    """The answer that is a file of so many bytes, of the system's cache."""
    if not (lab.folder / name).exists():
        (lab.folder / name).write_bytes(bytes(size))
    return f"root {lab.folder}; try_files /{name} =500;"
