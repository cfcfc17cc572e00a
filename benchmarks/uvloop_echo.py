"""uvloop_echo PORT: the echo server that does not fork, as an outside reference: uvloop's protocols, one process."""

import asyncio
import sys
from typing import cast

import uvloop


class Echo(asyncio.Protocol):
    """Sends back what it is given; a client that does not read is not read from."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Echo."""
        self.transport.write(data)

    def pause_writing(self) -> None:
        """Stop reading: the client is behind with its own."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        self.transport.resume_reading()


async def serve(port: int) -> None:
    """Serve 127.0.0.1:port until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
