"""Questions of users to the business consultant. The questions and answers stay in the object store."""

from typing import Literal

from pydantic import Field

from eventlib.catalog.vocabulary import (
    Count,
    DurationS,
    Failure,
    Id,
    Language,
    Name,
    Priority,
    Processing,
    Source,
    StorageKey,
    UserId,
)
from eventlib.events.schema import Event


class ConsultationRequested(Event, type="consultation.requested", version=1, stream="consultation"):
    """A user asks for advice. Published by the gateway once the question is stored."""

    consultation_id: Id = Field(description="Names the consultation; the answer carries it.")
    user_id: UserId = Field(description="Who asks.")
    topic: Literal["strategy", "marketing", "pricing", "operations", "finance"] = Field(
        description="What the question is about, as the user chose it."
    )
    question_key: StorageKey = Field(description="Where in the object store the question is.")
    language: Language = Field(description="The language of the answer.")
    sources: tuple[Source, ...] = Field(default=(), max_length=50, description="What the answer may use.")
    processing: Processing = Field(default="local", description="Whether the question may leave our machines.")
    priority: Priority = Field(default="normal", description="How urgent the request is beside others.")


class ConsultationCompleted(Event, type="consultation.completed", version=1, stream="consultation"):
    """The advice is stored. Published by the business consultant, in answer to a request."""

    consultation_id: Id = Field(description="The consultation that was asked for.")
    user_id: UserId = Field(description="Who asked.")
    answer_key: StorageKey = Field(description="Where in the object store the answer is.")
    cited_source_count: Count = Field(description="How many sources the answer names.")
    model: Name = Field(description="Which language model answered.")
    processing: Processing = Field(description="Where the model ran.")
    duration_s: DurationS = Field(description="How long the model took.")


class ConsultationFailed(Event, type="consultation.failed", version=1, stream="consultation"):
    """There will be no answer. Published by the business consultant when it gives a request up."""

    consultation_id: Id = Field(description="The consultation that was asked for.")
    user_id: UserId = Field(description="Who asked.")
    failure: Failure = Field(description="Why the request was given up.")
