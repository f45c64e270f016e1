"""An EHR's FHIR server for bench.fallback, in a process of its own: the answers of a file, each after a while.

python -m bench.fhir_server PORT FILE MILLISECONDS
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

BASE = "/fhir/"


def main(port: int, file: Path, milliseconds: float) -> None:
    """Serve what `file` holds: a JSON object of bodies as texts by their URL below BASE, not quoted."""
    asyncio.run(_serve(port, json.loads(file.read_text("utf-8")), milliseconds / 1000))


async def _serve(port: int, answers: Mapping[str, str], wait: float) -> None:
    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(wait)
                url = unquote(head.split(b" ", 2)[1].decode("ascii")).removeprefix(BASE)
                status = "200 OK" if url in answers else "404 Not Found"
                body = answers.get(url, "{}").encode()
                lines = [f"HTTP/1.1 {status}", "Content-Type: application/fhir+json", f"Content-Length: {len(body)}"]
                writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", port, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
