"""The types that the domains share: ids, sizes, priorities, and the description of a failure.

A field with personal data is marked with `json_schema_extra=PERSONAL`: its value says something about a person, or may
do so (a file's name, a message's text). A `UserId` marks whose data an event is about. Both marks are visible in
`model_fields` and in the JSON Schema, as `"personal": true` and `"data_subject": true`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

PERSONAL: JsonDict = {"personal": True}
DATA_SUBJECT: JsonDict = {"data_subject": True}

# An id names one thing for ever and says nothing about it: a ULID or a UUID, never an email address.
Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$")]
UserId = Annotated[Id, Field(json_schema_extra=DATA_SUBJECT)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9_./-]*$")]
StorageKey = Annotated[str, Field(min_length=1, max_length=512)]
SizeBytes = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Attempt = Annotated[int, Field(ge=1)]
DurationS = Annotated[float, Field(ge=0.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MediaType = Annotated[str, Field(max_length=127, pattern=r"^[a-z0-9.+-]+/[a-z0-9.+-]+$")]
Language = Annotated[str, Field(max_length=35, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]  # BCP 47: de, pt-BR

Priority = Literal["low", "normal", "high", "critical"]
Processing = Literal["local", "remote"]


class Part(BaseModel):
    """A part of an event. Like an event, it is immutable and refuses unknown fields when it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Failure(Part):
    """Why something did not work, for programs (`code`) and for people (`message`)."""

    code: Annotated[str, Field(max_length=64, pattern=r"^[a-z][a-z0-9_]*$")] = Field(
        description="What went wrong, as a word that programs branch on, such as unsupported_media_type."
    )
    message: str = Field(
        min_length=1, max_length=1000, description="The same for people who read the log; no personal data, no secrets."
    )
    retryable: bool = Field(description="True if asking again later, unchanged, may work.")


class Source(Part):
    """What a text, a vector or an index entry was made from."""

    kind: Literal["file", "draft", "market_series"] = Field(description="What kind of thing the source is.")
    id: Id = Field(description="Its id among the things of its kind, such as the file_id of a file.")
