"""A WebSocket server for the tests, by the package websockets.

Usage: server.py CERTIFICATE KEY  Prints its ports, in plain text and with TLS. What it does depends on the path.
"""

import asyncio
import http
import ssl
import sys

# The folder of this file comes first on the path, and could hide a package.
sys.path.pop(0)

from websockets.asyncio.server import serve


async def talk(connection):
    path = connection.request.path
    if path == "/hello":
        await connection.send("hello from the server")
    if path == "/echo":
        await connection.send("you said: " + await connection.recv())
    if path == "/close":
        await connection.close(1013, "hunter2-planted")
    if path == "/long":
        await connection.send("x" * 100_000)
    if path == "/chatty":
        for number in range(20):
            await connection.send(str(number))
    await connection.wait_closed()


def admit(connection, request):
    statuses = {"/locked": http.HTTPStatus.FORBIDDEN, "/full": http.HTTPStatus.TOO_MANY_REQUESTS, "/gone": http.HTTPStatus.GONE}
    if request.path in statuses:
        return connection.respond(statuses[request.path], "hunter2-planted")
    if request.path.startswith("/secret") and "hunter2-planted" not in request.headers.get("authorization", ""):
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "hunter2-planted")


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    plain = await serve(talk, "127.0.0.1", 0, process_request=admit)
    secure = await serve(talk, "127.0.0.1", 0, process_request=admit, ssl=context)
    print("ports", *(server.sockets[0].getsockname()[1] for server in (plain, secure)), flush=True)
    await plain.serve_forever()


asyncio.run(main())
