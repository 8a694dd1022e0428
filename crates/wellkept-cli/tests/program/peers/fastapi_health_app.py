"""A service in Python with fastapi-health: its database is a folder that is there or not, its cache is always well."""

import os
import socket

import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi_health import health


def database() -> bool:
    return os.path.isdir(os.environ["DATABASE"])


def cache() -> bool:
    return True


async def told(**conditions: bool) -> dict:
    word = {True: "pass", False: "fail"}
    checks = {name: [{"status": word[well]}] for name, well in conditions.items()}
    return {"status": word[all(conditions.values())], "checks": checks}


app = FastAPI()
app.add_api_route("/health", health([database, cache], success_handler=told, failure_handler=told))
# What it says unless it is told otherwise: an empty object, and the status code.
app.add_api_route("/plain", health([database, cache]))


@app.get("/{path:path}", response_class=HTMLResponse)
def page(path: str) -> str:
    return "<!doctype html><title>stock</title>"


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"listening on {listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
