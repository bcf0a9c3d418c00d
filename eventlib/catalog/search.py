"""The search index of the contextual core: sources that searches find, or no longer find."""

from typing import Literal, Self

from pydantic import Field

from eventlib.catalog.embeddings import EmbeddingGenerationCompleted
from eventlib.catalog.vocabulary import Count, DurationS, Failure, Id, Priority, Source, StorageKey, UserId
from eventlib.events.schema import Event


class SearchIndexUpdateRequested(Event, type="search.index.update_requested", version=1, stream="contextual"):
    """Vectors have to be searchable. Published by the file saga when an embedding is complete.

    There is no request for a removal: the index reads `file.deleted` itself.
    """

    update_id: Id = Field(description="Names this request; the answer carries it.")
    user_id: UserId = Field(description="The only user whose searches may find the source.")
    source: Source = Field(description="The source to be found.")
    vectors_key: StorageKey = Field(description="Where in the object store the vectors are.")
    chunk_count: int = Field(ge=1, description="How many vectors are there.")
    priority: Priority = Field(default="normal", description="How urgent the request is beside others.")

    @classmethod
    def after(cls, completed: EmbeddingGenerationCompleted, *, update_id: str, priority: Priority = "normal") -> Self:
        """Ask to index a source that was embedded."""
        return cls(
            update_id=update_id,
            user_id=completed.user_id,
            source=completed.source,
            vectors_key=completed.vectors_key,
            chunk_count=completed.chunk_count,
            priority=priority,
        )


class SearchIndexUpdated(Event, type="search.index.updated", version=1, stream="contextual"):
    """The index has changed, and searches use the change. Published by the contextual core."""

    update_id: Id = Field(description="The request that this answers; for a removal, an id of its own.")
    user_id: UserId = Field(description="Whose searches use the change.")
    source: Source = Field(description="The source that is found, or no longer found.")
    change: Literal["added", "replaced", "removed"] = Field(description="What happened to the source's entries.")
    entry_count: Count = Field(description="How many entries were added, replaced or removed.")
    duration_s: DurationS = Field(description="How long the change took.")


class SearchIndexUpdateFailed(Event, type="search.index.update_failed", version=1, stream="contextual"):
    """The index stays as it was. Published by the contextual core when it gives a request up."""

    update_id: Id = Field(description="The request that this answers.")
    user_id: UserId = Field(description="Whose searches miss the source.")
    source: Source = Field(description="The source that is not found, or not in its newest form.")
    failure: Failure = Field(description="Why the request was given up.")
