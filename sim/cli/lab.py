"""workbench lab: the notebooks in JupyterLab."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from eventlib.cli.console import FAILED, ending
from eventlib.cli.terminal import out
from eventlib.extras import require
from sim.cli.options import Url

app = typer.Typer()


@app.command("lab", epilog=ending("`workbench lab --port 8899`"))
def lab_command(
    url: Url = None,
    port: Annotated[int, typer.Option(help="Port of JupyterLab on this machine.", min=1, max=65535)] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open JupyterLab on the notebooks, with a Redis running.

    In a clone these are its notebooks. Elsewhere they are copied, with the scenarios, into the folder `event-workbench`
    here; what is there already stays as it is.
    """
    from sim.cli.shipped import copy_to_work_in, in_clone, shipped
    from sim.worlds.live import server_at

    require("jupyterlab", "lab", "workbench lab")
    notebooks = shipped() / "notebooks" if in_clone() else copy_to_work_in(Path("event-workbench"))
    out.tell(f"The notebooks are in {notebooks}")
    with server_at(url) as address:
        command = [sys.executable, "-m", "jupyterlab", str(notebooks), f"--port={port}", "--ip=127.0.0.1"]
        if not browser:
            command.append("--no-browser")
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")  # as in a container; it listens on this machine alone
        lab = subprocess.Popen(command, env=os.environ | {"REDIS_URL": address})
        try:
            status = lab.wait()
        finally:
            if lab.poll() is None:
                lab.terminate()
                lab.wait()
    raise typer.Exit(FAILED if status else 0)
