"""nbval waits 5 s for what a cell that has ended printed, which no option changes. A busy machine needs longer."""

import pytest

_OUTPUTS_S = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = _OUTPUTS_S
