"""Files of results that hold something else than JSON that can be read: each is refused in one line."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from sim.calibration import Calibration
from sim.cli.report import _read_fidelity
from sim.errors import SimError
from sim.infer.learned_file import open_learned
from sim.infer.prediction import Prediction
from sim.infer.swept import Sweep
from tests.model.small import any_scenario


def _in_a_table(file: Path) -> Path:
    """The same file as a Parquet file that says of its sweep what it held before."""
    parquet.write_table(pa.table({"seed": [0]}).replace_schema_metadata({"sweep": file.read_bytes()}), file)
    return file


READERS: dict[str, Callable[[Path], object]] = {
    "a calibration": Calibration.load,
    "a prediction": Prediction.open,
    "what was learned": lambda file: open_learned(any_scenario(1), file),
    "a sweep": Sweep.open,
    "a sweep in its table": lambda file: Sweep.open(_in_a_table(file)),
    "a fidelity": lambda file: _read_fidelity(file, file),
}
CONTENTS = {
    "nothing": b"",
    "nested too deep": b"[" * 100_000,
    "too many digits": b'{"format": ' + b"1" * 10_000 + b"}",
    "no UTF-8": b"\xff\xfe{}",
    "a null": b"null",
    "a list": b"[[], {}]",
    "cut off": b'{"format": 1, "services": {"bil',
    "no number": b'{"format": NaN}',
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_holds_something_else_is_refused(tmp_path: Path, read: Callable[[Path], object], content: bytes) -> None:
    file = tmp_path / "kept.json"
    file.write_bytes(content)
    with pytest.raises(SimError) as refused:
        read(file)
    assert refused.value.where == str(file) and "\n" not in str(refused.value) and len(str(refused.value)) < 400
