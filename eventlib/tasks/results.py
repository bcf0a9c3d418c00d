"""What a task returns, as JSON: written by its worker, read by those who wait for it."""

from typing import Any

from pydantic import ValidationError

from eventlib.declare.tasks import Task
from eventlib.errors import DecodeError, InvalidArgument
from eventlib.events.roundtrip import first_difference, is_same, proof_of

RESULT_BYTES_MAX = 2**20


def write_result(task: Task[..., Any], returned: object) -> bytes:
    """What a task returned, as JSON. Empty where it returns nothing.

    Raises:
        InvalidArgument: it is not what the task is annotated to return, would not come back, or takes over 1 MiB.
    """
    where = f"task {task.name!r}"
    if task.returns_nothing and returned is None:
        return b""
    result_class = task.result_class
    proof = proof_of(result_class)
    try:
        result = result_class(value=returned)
        written = result.__pydantic_serializer__.to_json(result, by_alias=True, warnings=proof.warnings)
    except ValidationError as error:
        raise InvalidArgument(where, f"returned what its annotation refuses: {error.errors()[0]['msg']}") from error
    except ValueError as error:  # pydantic raises one for lone surrogates and unknown objects
        raise InvalidArgument(where, f"returned what has no JSON form: {error}") from error
    if len(written) > RESULT_BYTES_MAX:
        problem = f"returned {len(written):,} bytes; at most {RESULT_BYTES_MAX:,} are kept: "
        raise InvalidArgument(where, f"{problem}store the content elsewhere and return its location")
    if not (proof.complete or proof.holds(result, len(written))):
        read = result_class.model_validate_json(written)
        if not is_same(result, read):
            raise InvalidArgument(where, f"returned what does not come back: {first_difference(result, read)}")
    return written


def read_result(task: Task[..., Any], written: bytes) -> Any:
    """What a task returned.

    Raises:
        DecodeError: this program's declaration of the task returns something else.
    """
    if not written:
        return None
    try:
        return task.result_class.model_validate_json(written).value  # type: ignore[attr-defined]  # made by the task
    except ValidationError as error:
        raise DecodeError(f"result of task {task.name!r}: {error.errors()[0]['msg']}") from error
