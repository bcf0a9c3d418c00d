"""Environments that others prepare from this repository: Binder and dev containers. Neither is built here.

No container engine is needed: what Binder would run is run with a pip that only notes what it is told, and the dev
container's command is asked what it would do.
"""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

from tests.install.test_make import SETS_UP, make
from tests.repository import TOP

PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Of the properties that containers.dev lists, those that are used here.
KNOWN = {
    "name",
    "image",
    "features",
    "onCreateCommand",
    "remoteEnv",
    "forwardPorts",
    "portsAttributes",
    "customizations",
}


def _supported(version: str) -> bool:
    """Is it a Python that the project supports and CI runs?"""
    ci = (TOP / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    return f'"{version}"' in ci and PROJECT["requires-python"] == ">=3.11"


def test_binder_installs_the_notebooks_packages_as_constrained(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/told\n')
    python.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", ".binder/postBuild"], cwd=TOP, check=True, env=os.environ | {"PATH": path})
    told = (tmp_path / "told").read_text().split()
    assert told[:3] == ["-m", "pip", "install"]
    assert (TOP / told[told.index("-c") + 1]).is_file()
    extra = re.fullmatch(r"\.\[(\w+)\]", told[-1])
    assert extra is not None and extra[1] in PROJECT["optional-dependencies"]
    version = re.fullmatch(r"python-([\d.]+)", (TOP / ".binder/runtime.txt").read_text().strip())
    assert version is not None and _supported(version[1])


def test_a_dev_container_sets_up_as_a_clone_does() -> None:
    declared = json.loads((TOP / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    assert declared.keys() <= KNOWN
    version = re.search(r"/python:(\d\.\d+)", declared["image"])
    assert version is not None and _supported(version[1])
    program, *arguments = declared["onCreateCommand"].split()
    done = make(TOP, "-n", "--always-make", *arguments)
    assert program == "make" and done.returncode == 0 and SETS_UP in done.stdout
    assert set(declared["portsAttributes"]) == {str(port) for port in declared["forwardPorts"]}
    tests = declared["customizations"]["vscode"]["settings"]["python.testing.pytestArgs"]
    assert all((TOP / path).is_dir() for path in tests)
