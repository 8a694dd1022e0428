"""Two gRPC servers for the tests, by grpcio: one with the health service and one without.

Usage: server.py CERTIFICATE KEY SOCKET  Prints their ports: the first one's, in plain text and with TLS, and the other's.
"""

import sys
import threading
from concurrent import futures

# The folder of this file comes first on the path, and could hide a package.
sys.path.pop(0)

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

STATUS = health_pb2.HealthCheckResponse


class Health(health.HealthServicer):
    def Check(self, request, context):
        if request.service == "slow":
            threading.Event().wait(context.time_remaining() + 5)
        if request.service == "late":
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
        if request.service == "full":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")
        if request.service == "secret" and ("authorization", "Bearer hunter2-planted") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "hunter2-planted is missing")
        return super().Check(request, context)


with open(sys.argv[1], "rb") as certificate, open(sys.argv[2], "rb") as key:
    credentials = grpc.ssl_server_credentials([(key.read(), certificate.read())])
server = grpc.server(futures.ThreadPoolExecutor(8))
servicer = Health()
for service, status in {
    "": STATUS.SERVING,
    "secret": STATUS.SERVING,
    "orders": STATUS.NOT_SERVING,
    "strange": STATUS.SERVICE_UNKNOWN,
    "nobody-knows": STATUS.UNKNOWN,
}.items():
    servicer.set(service, status)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
plain = server.add_insecure_port("127.0.0.1:0")
secure = server.add_secure_port("127.0.0.1:0", credentials)
server.add_insecure_port("unix:" + sys.argv[3])
server.start()
bare = grpc.server(futures.ThreadPoolExecutor(1))
other = bare.add_insecure_port("127.0.0.1:0")
bare.start()
print("ports", plain, secure, other, flush=True)
server.wait_for_termination()
