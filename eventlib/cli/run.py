"""workbench run: the consumers of an App as a service, from its start to a graceful end."""

import asyncio
import logging
import random
import signal
import sys
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import eventlib as ev
from eventlib.cli.apps import imported_app
from eventlib.cli.bus import Namespace, Url
from eventlib.cli.console import Json, ending, from_settings, named_server, write_json
from eventlib.cli.terminal import err
from eventlib.reconnect import until_answered

app = typer.Typer()

CONNECT_WITHIN_S = 60.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_COUNTED = ("handled", "failed", "retried", "dead", "taken_over", "lost")

Named = list[str] | None
Grace = Annotated[
    float,
    from_settings(
        "running.grace_s", typer.Option("--grace", help="Seconds that running handlers have after SIGTERM.", min=0)
    ),
]
HealthPort = Annotated[
    int,
    from_settings(
        "health.port",
        typer.Option(help="TCP port of /livez, /readyz, /healthz and /metrics; 0 picks one.", min=0, max=65535),
    ),
]
HealthHost = Annotated[
    str, from_settings("health.host", typer.Option(help="Address of these; in a container 0.0.0.0."))
]


@dataclass(frozen=True, slots=True)
class _Service:
    """What runs, where, and how it ends."""

    app: ev.App
    url: str
    namespace: str | None
    groups: Named
    queues: Named
    sagas: Named
    consumer: str | None
    grace_s: float
    connect_within_s: float
    health: tuple[str, int]  # host and port


@app.command(
    "run", epilog=ending("`workbench run shop:app --group billing --health-port 8080`, in the folder of shop.py")
)
def run_command(
    name: Annotated[str, typer.Argument(help="The App, as module:name; the module is imported.", metavar="APP")],
    grace_s: Grace,
    health_port: HealthPort,
    health_host: HealthHost,
    group: Annotated[Named, typer.Option(help="Run this group alone; may be given again.", metavar="NAME")] = None,
    queue: Annotated[Named, typer.Option(help="Run this task queue alone; may be given again.", metavar="NAME")] = None,
    saga: Annotated[Named, typer.Option(help="Run this saga alone; may be given again.", metavar="NAME")] = None,
    url: Url = None,
    namespace: Namespace = None,
    consumer: Annotated[
        str | None, typer.Option(help="Name of the consumers, unique in each group. Default: one made up.")
    ] = None,
    connect_within_s: Annotated[
        float, typer.Option("--connect-within", help="Seconds to wait at the start for a server that is away.", min=0)
    ] = CONNECT_WITHIN_S,
    log_level: Annotated[str, typer.Option(help="What is logged: debug, info, warning or error.")] = "info",
    json_file: Json = None,
) -> None:
    """Run an App's handlers, tasks and sagas until SIGTERM or Ctrl-C, with health endpoints.

    Then nothing more is read, running handlers may end within --grace seconds, and what is left goes back to its group
    at once. The exit status is 0 after that. A second signal ends the process without waiting: what it holds is taken
    over after a lease. `--json` writes what became of the deliveries.
    """
    if not isinstance(level := logging.getLevelNamesMapping().get(log_level.upper()), int):
        raise typer.BadParameter(f"--log-level {log_level} is none of debug, info, warning and error")
    with redirect_stdout(sys.stderr) if json_file == Path("-") else nullcontext():  # handlers print, and modules do
        found = imported_app(name)
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")  # unless the App did
        service = _Service(
            app=found,
            url=url or named_server("pass --url"),
            namespace=namespace,
            groups=group or None,
            queues=queue or None,
            sagas=saga or None,
            consumer=consumer,
            grace_s=grace_s,
            connect_within_s=connect_within_s,
            health=(health_host, health_port),
        )
        try:
            result = asyncio.run(_serve(service))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    write_json(json_file, result)


async def _serve(service: _Service) -> dict[str, Any]:
    """Run until a signal comes. Returns what became of the deliveries."""
    end = _End()
    async with AsyncExitStack() as stack:
        try:
            bus = await _connected(stack, service, end)
        except ev.BrokerUnavailable:
            if not end.asked_by:
                raise
            return {"app": service.app.name, "ended_by": end.asked_by, "drained_s": 0.0, "groups": []}
        host, port = service.health
        server = bus.serve_health(port, host)
        async with bus.running(
            groups=service.groups,
            queues=service.queues,
            sagas=service.sagas,
            consumer=service.consumer,
            grace_s=service.grace_s,
        ):
            places = ", ".join(f"{each.stream}/{each.group}" for each in bus.health())
            err.tell(f"{service.app.name} runs {places} on {bus.server}. Health: {server.url}/readyz")
            await end.asked()
            begun_s, held = time.monotonic(), sum(each.in_hand for each in bus.health())
            err.tell(f"{end.asked_by}: reads nothing more; {held} in hand may end within {service.grace_s:g} s.")
        drained_s, groups = time.monotonic() - begun_s, _counted(bus)
    handled = sum(each["handled"] for each in groups)
    err.tell(f"{service.app.name} has left after {drained_s:.2f} s. It has handled {handled}.")
    return {"app": service.app.name, "ended_by": end.asked_by, "drained_s": drained_s, "groups": groups}


async def _connected(stack: AsyncExitStack, service: _Service, end: "_End") -> ev.Bus:
    """A connected bus. A server that does not answer is waited for: a program that ends would only be started again.

    Raises:
        BrokerUnavailable: it did not answer in time, or the end was asked for.
        BrokerError: it refused.
    """
    give_up_at_s = time.monotonic() + service.connect_within_s

    def failed(error: ev.BrokerError, failures: int) -> float:
        rest_s = give_up_at_s - time.monotonic()
        if not isinstance(error, ev.BrokerUnavailable) or rest_s <= 0.0 or end.asked_by:
            raise error
        if failures == 1:
            err.tell(f"It is waited for, for {service.connect_within_s:g} s: {error}")
        return rest_s

    def connect() -> Awaitable[ev.Bus]:
        return stack.enter_async_context(ev.connect(service.app, service.url, namespace=service.namespace))

    return (await until_answered(connect, failed, random.Random())).value


def _counted(bus: ev.Bus) -> list[dict[str, Any]]:
    return [
        {"stream": stream, "group": group} | {name: getattr(counts, name) for name in _COUNTED}
        for (stream, group), counts in sorted(bus.counts().items())
    ]


class _End:
    """The first signal asks for a graceful end. The second one cancels what waits for it."""

    def __init__(self) -> None:
        self.asked_by = ""
        self._asked = asyncio.Event()
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as SIGHUP under nohup: that stays
                loop.add_signal_handler(number, self._ask, number)

    async def asked(self) -> None:
        """Wait for the first signal."""
        await self._asked.wait()

    def _ask(self, number: signal.Signals) -> None:
        if self.asked_by and self._task is not None:
            err.tell(f"{number.name} again: it ends at once. What it holds is taken over after a lease.")
            self._task.cancel()
        self.asked_by = self.asked_by or number.name
        self._asked.set()
