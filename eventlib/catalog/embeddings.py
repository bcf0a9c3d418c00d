"""Vectors that the contextual core makes from texts, on our own machines unless a user chose otherwise."""

from typing import Self

from pydantic import Field

from eventlib.catalog.files import FileTextExtracted
from eventlib.catalog.vocabulary import (
    Count,
    DurationS,
    Failure,
    Id,
    Name,
    Priority,
    Processing,
    SizeBytes,
    Source,
    StorageKey,
    UserId,
)
from eventlib.events.schema import Event


class EmbeddingGenerationRequested(Event, type="embedding.generation.requested", version=1, stream="contextual"):
    """A text has to be embedded. Published by the service that holds the new text: the file saga, the content drafter
    or the market monitor.
    """

    generation_id: Id = Field(description="Names this request; the answer carries it.")
    user_id: UserId = Field(description="Whose text it is.")
    source: Source = Field(description="What the text was made from.")
    text_key: StorageKey = Field(description="Where in the object store the text is, as UTF-8.")
    text_size_bytes: SizeBytes = Field(description="How large the text is, to plan the work.")
    model: Name = Field(description="Which embedding model to use.")
    processing: Processing = Field(default="local", description="Remote: the text may leave our machines.")
    priority: Priority = Field(default="normal", description="How urgent the request is beside others.")

    @classmethod
    def after(
        cls,
        extracted: FileTextExtracted,
        *,
        generation_id: str,
        model: str,
        processing: Processing = "local",
        priority: Priority = "normal",
    ) -> Self:
        """Ask to embed the text that was extracted from a file."""
        return cls(
            generation_id=generation_id,
            user_id=extracted.user_id,
            source=Source(kind="file", id=extracted.file_id),
            text_key=extracted.text_key,
            text_size_bytes=extracted.text_size_bytes,
            model=model,
            processing=processing,
            priority=priority,
        )


class EmbeddingGenerationCompleted(Event, type="embedding.generation.completed", version=1, stream="contextual"):
    """The vectors of a text are stored. Published by the contextual core, in answer to a request."""

    generation_id: Id = Field(description="The request that this answers.")
    user_id: UserId = Field(description="Whose text it is.")
    source: Source = Field(description="What the text was made from.")
    model: Name = Field(description="Which embedding model was used.")
    vectors_key: StorageKey = Field(description="Where in the object store the vectors are.")
    chunk_count: int = Field(ge=1, description="How many pieces the text was cut into, one vector for each.")
    dimension_count: int = Field(ge=1, le=65_536, description="How many numbers a vector has.")
    duration_s: DurationS = Field(description="How long the model took.")

    @classmethod
    def answering(
        cls,
        requested: EmbeddingGenerationRequested,
        *,
        vectors_key: str,
        chunk_count: int,
        dimension_count: int,
        duration_s: float,
    ) -> Self:
        """Answer a request. Ids, source and model are taken from it."""
        return cls(
            generation_id=requested.generation_id,
            user_id=requested.user_id,
            source=requested.source,
            model=requested.model,
            vectors_key=vectors_key,
            chunk_count=chunk_count,
            dimension_count=dimension_count,
            duration_s=duration_s,
        )


class EmbeddingGenerationFailed(Event, type="embedding.generation.failed", version=1, stream="contextual"):
    """A text cannot be embedded. Published by the contextual core when it gives a request up."""

    generation_id: Id = Field(description="The request that this answers.")
    user_id: UserId = Field(description="Whose text it is.")
    source: Source = Field(description="What the text was made from.")
    model: Name = Field(description="Which embedding model was asked for.")
    done_chunk_count: Count = Field(default=0, description="How many pieces were embedded; they are thrown away.")
    failure: Failure = Field(description="Why the request was given up.")

    @classmethod
    def answering(cls, requested: EmbeddingGenerationRequested, *, failure: Failure, done_chunk_count: int = 0) -> Self:
        """Answer a request. Ids, source and model are taken from it."""
        return cls(
            generation_id=requested.generation_id,
            user_id=requested.user_id,
            source=requested.source,
            model=requested.model,
            done_chunk_count=done_chunk_count,
            failure=failure,
        )
