"""workbench exporter: metrics of the streams of any library, for Prometheus."""

import asyncio
from typing import Annotated

import typer

from eventlib.broker.surveying import SurveyLimits, Surveyor
from eventlib.cli.console import Json, ending, from_settings, write_json, write_text
from eventlib.cli.looking import ServerUrl
from eventlib.cli.terminal import err

app = typer.Typer()


@app.command("exporter", epilog=ending("`workbench exporter redis://localhost:6379 --port 9121`"))
def exporter_command(
    url: ServerUrl,
    port: Annotated[
        int, from_settings("exporter.port", typer.Option(help="TCP port to serve on; 0 picks one.", min=0, max=65535))
    ],
    host: Annotated[str, from_settings("exporter.host", typer.Option(help="Address to serve on."))],
    every_s: Annotated[
        float,
        from_settings("exporter.every_s", typer.Option("--every", help="Seconds between two looks.", min=1, max=3600)),
    ],
    rate: Annotated[
        float,
        from_settings(
            "exporter.rate", typer.Option(help="The most commands sent to Redis within any second.", min=1, max=10_000)
        ),
    ],
    idle_after_s: Annotated[
        float,
        from_settings(
            "exporter.idle_after_s",
            typer.Option("--idle-after", help="A consumer is idle after so many seconds without a call.", min=1),
        ),
    ],
    streams_max: Annotated[
        int, from_settings("exporter.streams_max", typer.Option(help="The most streams to look at.", min=1, max=10_000))
    ],
    stream: Annotated[
        list[str] | None, typer.Option(help="Look at this stream alone; may be given again.", metavar="KEY")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, print the metrics, and end.")] = False,
    json_file: Json = None,
) -> None:
    """Serve metrics of the streams of any library, read-only, for Prometheus.

    They are lag, pending entries, idle and dead consumers, length and memory. `/metrics` is what was seen
    last, `/healthz` the same as JSON. `--once` looks once, prints the metrics, and ends. `--json FILE` does so too, and
    also writes what was seen.
    """
    limits = SurveyLimits(rate, streams_max, idle_after_s, tuple(stream or ()))
    if once or json_file is not None:
        asyncio.run(_once(url, limits, json_file))
    else:
        asyncio.run(_serve(url, limits, every_s, port, host))


async def _once(url: str, limits: SurveyLimits, json_file: Json) -> None:
    from eventlib.operate.exporter import Exporter

    surveyor = Surveyor(url, limits)
    try:
        exporter = Exporter(surveyor, 0.0)
        seen = await exporter.look()
    finally:
        await surveyor.close()
    for key in seen.missing:
        err.tell(f"no stream is at {key}; is the key misspelt?")
    write_json(json_file, exporter.document())
    write_text(exporter.metrics(), json_file)


async def _serve(url: str, limits: SurveyLimits, every_s: float, port: int, host: str) -> None:
    from eventlib.operate.exporter import Exporter
    from eventlib.operate.serving import HealthServer

    surveyor = Surveyor(url, limits)
    try:
        exporter = Exporter(surveyor, every_s, err.tell)
        server = HealthServer(exporter.answer, port, host, "exporter")
        try:
            err.tell(f"{server.url}/metrics tells of {surveyor.where}. Ctrl-C ends it.")
            await exporter.run()
        finally:
            await asyncio.to_thread(server.close)
    finally:
        await surveyor.close()
