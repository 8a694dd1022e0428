"""A gRPC health client for the tests: grpcio with its own stubs, and one that speaks HTTP/2 by hand and never reads.

Usage: grpc.py ADDRESS COMMAND ARGUMENTS...  Prints a line for each thing that happens.
"""

import queue
import socket
import sys
import threading

# The folder of this file comes first on the path, and would hide the package of the same name.
sys.path.pop(0)

import grpc
import h2.config
import h2.connection
import h2.settings
from grpc_health.v1 import health_pb2, health_pb2_grpc

WORDS = health_pb2.HealthCheckResponse.ServingStatus


def channel(address, *options):
    return grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1), *options])


def say(*words):
    # In one piece: several threads speak.
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def code(call):
    """The name of the code that a call fails with."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def check(address, *services):
    """As a kubelet does: a connection for each, one second, nothing else said."""
    for service in services:
        with channel(address, ("grpc.primary_user_agent", "kube-probe/1.34")) as one:
            request = health_pb2.HealthCheckRequest(service=service)
            try:
                said = WORDS.Name(health_pb2_grpc.HealthStub(one).Check(request, timeout=1).status)
            except grpc.RpcError as error:
                said = error.code().name
            say(f"`{service}`", said)


def list_all(address):
    with channel(address) as one:
        statuses = health_pb2_grpc.HealthStub(one).List(health_pb2.HealthListRequest(), timeout=5).statuses
        for service in sorted(statuses):
            say(f"`{service}`", WORDS.Name(statuses[service].status))


def follow(stub, service, tell):
    try:
        for response in stub.Watch(health_pb2.HealthCheckRequest(service=service)):
            tell(WORDS.Name(response.status))
        tell("ended with OK")
    except grpc.RpcError as error:
        tell(f"ended with {error.code().name}")


def watch(address, *services):
    def one(service):
        with channel(address) as own:
            follow(health_pb2_grpc.HealthStub(own), service, lambda said: say(f"`{service}`", said))

    threads = [threading.Thread(target=one, args=[service]) for service in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def crowd(address, count):
    """Many watchers on few connections; tells how many are told what, and again when they have all ended."""
    count = int(count)
    heard = queue.Queue()
    channels = [channel(address) for _ in range(count // 25)]
    stubs = [health_pb2_grpc.HealthStub(one) for one in channels]
    threading.stack_size(256 * 1024)
    for number in range(count):
        stub = stubs[number % len(stubs)]
        threading.Thread(target=follow, args=[stub, "", lambda said: heard.put(said)], daemon=True).start()
    told = {}
    ended = 0
    while ended < count:
        said = heard.get()
        told[said] = told.get(said, 0) + 1
        ended += said.startswith("ended")
        if sum(told.values()) == count or ended == count:
            say(" ".join(f"{number}x {said}" for said, number in sorted(told.items())))


def garbage(address):
    as_it_is = {"request_serializer": lambda raw: raw, "response_deserializer": lambda raw: raw}
    with channel(address) as one:
        for name, method, raw in [
            ("no UTF-8", "Check", b"\x0a\x02\xff\xfe"),
            ("no protobuf", "Check", b"\xff\xff\xff\xff\xff"),
            ("no protobuf watched", "Watch", b"\x0a\x7f"),
            ("too large", "Check", b"\x0a\xff\x07" + b"x" * 1023),
            ("huge", "List", b"x" * 3_000_000),
            ("a later field", "Check", b"\x10\x07"),
            ("another method", "Chuck", b""),
        ]:
            path = f"/grpc.health.v1.Health/{method}"
            say(name, code(lambda: list(one.unary_stream(path, **as_it_is)(raw, timeout=5))))
        say("another service", code(lambda: one.unary_unary("/orders.Orders/Get", **as_it_is)(b"", timeout=5)))
        many = one.stream_unary("/grpc.health.v1.Health/Check", **as_it_is)
        say("two messages", code(lambda: many(iter([b"", b""]), timeout=5)))
        say("no message", code(lambda: many(iter([]), timeout=5)))
        stub = health_pb2_grpc.HealthStub(one)
        gzip = grpc.Compression.Gzip
        request = health_pb2.HealthCheckRequest(service="x" * 500)
        say("compressed", code(lambda: stub.Check(request, timeout=5, compression=gzip)))
        say("late", code(lambda: many((threading.Event().wait(60) and b"" for _ in range(1)), timeout=0.2)))
    say("done")


def mute(address, count):
    """Watches and never reads: first streams without a window, then a connection whose socket nobody empties."""
    host, port = address.rsplit(":", 1)
    held = []
    for window in [0, 65535]:
        for _ in range(int(count) // 25):
            connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
            connection.initiate_connection()
            connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
            for stream in range(1, 50, 2):
                headers = {
                    ":method": "POST",
                    ":scheme": "http",
                    ":authority": address,
                    ":path": "/grpc.health.v1.Health/Watch",
                    "content-type": "application/grpc",
                    "te": "trailers",
                }
                connection.send_headers(stream, list(headers.items()))
                connection.send_data(stream, b"\0\0\0\0\0", end_stream=True)
            socket_ = socket.create_connection((host, int(port)))
            socket_.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            socket_.sendall(connection.data_to_send())
            held.append(socket_)
    say("mute")
    threading.Event().wait()


COMMANDS = {"check": check, "list": list_all, "watch": watch, "crowd": crowd, "garbage": garbage, "mute": mute}
COMMANDS[sys.argv[2]](sys.argv[1], *sys.argv[3:])
