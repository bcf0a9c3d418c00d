"""The endpoints as an ASGI app, to mount in FastAPI, Starlette or any other."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from eventlib.errors import InvalidArgument
from eventlib.health.endpoints import Endpoints
from eventlib.operate.serving import Answer

Message = MutableMapping[str, Any]
ASGIApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


def asgi_app(endpoints: Endpoints) -> ASGIApp:
    """An app that answers GET and HEAD, below any path that it is mounted at."""

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # which refuses it, as no path is one
        elif scope["type"] == "http":
            await _respond(scope, send, await _answer(endpoints, scope))
        else:
            raise InvalidArgument("health_app", f"{scope['type']!r} is no protocol that it speaks; mount it for HTTP")

    return app


async def _answer(endpoints: Endpoints, scope: Message) -> Answer:
    if scope["method"] not in ("GET", "HEAD"):
        return Answer(405, "text/plain; charset=utf-8", b"only GET and HEAD\n")
    root, path = scope.get("root_path", ""), scope["path"]
    if root and path.startswith(f"{root}/"):  # where it is mounted; some servers take it off the path themselves
        path = path[len(root) :]
    accept = b",".join(value for name, value in scope.get("headers", ()) if name.lower() == b"accept")
    return await endpoints.in_loop(path, accept.decode("latin-1"))


async def _respond(scope: Message, send: Callable[[Message], Awaitable[None]], answer: Answer) -> None:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if answer.status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


async def _live(receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    """There is nothing to start or stop: the bus does."""
    while (event := (await receive())["type"]) == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    if event == "lifespan.shutdown":
        await send({"type": "lifespan.shutdown.complete"})
