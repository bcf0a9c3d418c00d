"""Starts the fork server, wherever the owner was started and whatever is in its folder or its environment.

Run by its path with `python -I`: neither the current directory nor PYTHON* variables decide what is imported, and
nothing is imported here that is not in the standard library. The owner says where to look: its own `sys.path` without
the folder that it happens to run in, and the files of `eventlib` and `sim` themselves.
"""

import importlib.util
import json
import sys
from collections.abc import Mapping


def load(packages: Mapping[str, str]) -> None:
    """Import these packages from these files, also where the path has others of their names."""
    for name, file in packages.items():
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{name} cannot be loaded from {file}")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


if __name__ == "__main__":
    channel, path, packages = json.loads(sys.argv[1])
    sys.path[:] = dict.fromkeys((*path, *sys.path))
    load(packages)

    from sim.worlds.fork_server import serve

    serve(channel)
