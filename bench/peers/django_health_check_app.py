"""The peer for Django: every probe runs all checks, side by side on the server's event loop."""

import asyncio
import dataclasses
import os
import socket

import django
import uvicorn
from django.conf import settings

PORT = int(os.environ["DEPENDENCY_PORT"])
CHECKS = int(os.environ["CHECKS"])

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["health_check"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="not used for anything",
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from health_check.base import HealthCheck  # noqa: E402
from health_check.views import HealthCheckView  # noqa: E402


@dataclasses.dataclass
class Dependency(HealthCheck):
    number: int

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(b"how are you\n")
        await reader.readline()
        writer.close()


checks = [(Dependency, {"number": number}) for number in range(CHECKS)]
urlpatterns = [path("health", HealthCheckView.as_view(checks=checks))]
app = get_asgi_application()

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"listening on {listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
