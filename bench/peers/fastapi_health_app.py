"""The peer for FastAPI: every probe resolves the conditions, which FastAPI does one after the other."""

import asyncio
import os
import socket

import uvicorn
from fastapi import FastAPI
from fastapi_health import health

PORT = int(os.environ["DEPENDENCY_PORT"])
CHECKS = int(os.environ["CHECKS"])


async def ask() -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(b"how are you\n")
    answer = await reader.readline()
    writer.close()
    return answer == b"ok\n"


def condition(number: int):
    async def check() -> bool:
        return await ask()

    check.__name__ = f"check_{number}"
    return check


app = FastAPI()
app.add_api_route("/health", health([condition(number) for number in range(CHECKS)]))

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"listening on {listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
