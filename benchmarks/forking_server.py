"""forking_server PORT: echo on CPython's socketserver.ForkingTCPServer, its backlog and child limit raised."""

import socketserver
import sys


class Echo(socketserver.BaseRequestHandler):
    """One client, in a child of its own."""

    def handle(self) -> None:
        """Echo until the client's end of file."""
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Server(socketserver.ForkingTCPServer):
    """As it comes, but for the limits that would fail the comparison: a backlog of 5 and 40 children."""

    allow_reuse_address = True
    request_queue_size = 4096
    max_children = 20000
    block_on_close = False


if __name__ == "__main__":
    with Server(("127.0.0.1", int(sys.argv[1])), Echo) as server:
        server.serve_forever()
