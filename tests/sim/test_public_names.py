"""The package docstring is the table of public names, and each name is imported when it is first used."""

import re
import subprocess
import sys

import pytest

import sim


def test_the_docstring_lists_the_public_names() -> None:
    assert sim.__doc__ is not None
    indented = "\n".join(line for line in sim.__doc__.splitlines() if line.startswith("    "))
    assert sorted(re.findall(r"\w+", indented)) == sorted(sim.__all__)


def test_every_public_name_is_there_and_explained() -> None:
    assert sim.__all__ == sorted(sim.__all__)
    assert all(getattr(sim, name).__doc__ for name in sim.__all__)
    assert set(sim.__all__) <= set(dir(sim))


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="module 'sim' has no attribute 'simulator'"):
        getattr(sim, "simulator")  # noqa: B009 - a type checker knows it too


def test_a_name_imports_only_what_it_needs() -> None:
    program = "import sys, sim; print('numpy' in sys.modules, sim.Scenario.__name__, 'simpy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False Scenario False\n"


def test_no_run_and_no_comparison_imports_what_takes_long() -> None:
    """Statistics, tables and figures take a second to import: each is imported by what cannot do without it."""
    commands = "import sim.cli.conclusion, sim.infer.kept, sim.infer.prediction"
    program = (
        f"import sys, sim; sim.simulate, sim.run_live, sim.compare, sim.summarize; {commands}; print(*sys.modules)"
    )
    loaded = set(subprocess.check_output([sys.executable, "-c", program], text=True).split())
    assert "simpy" in loaded and not loaded & {"matplotlib", "pandas", "pyarrow", "scipy.stats"}
