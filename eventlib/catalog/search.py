"""The search index of the contextual core: what is found, and no longer found, by meaning."""

from typing import Literal, Self

from pydantic import Field

from eventlib.catalog.embeddings import EmbeddingGenerationCompleted
from eventlib.catalog.vocabulary import Count, DurationS, Failure, Id, Priority, Source, StorageKey, UserId
from eventlib.events.schema import Event


class SearchIndexUpdateRequested(Event, type="search.index.update_requested", version=1, stream="contextual"):
    """Vectors shall be searchable. Published by the file saga when an embedding is complete.

    Nobody asks for a removal: the index hears of `file.deleted` itself.
    """

    update_id: Id = Field(description="Names this request; the answer carries it.")
    user_id: UserId = Field(description="Whose searches shall find the source, and nobody else's.")
    source: Source = Field(description="What shall be found.")
    vectors_key: StorageKey = Field(description="Where in the object store the vectors are.")
    chunk_count: int = Field(ge=1, description="How many vectors are there.")
    priority: Priority = Field(default="normal", description="How urgent the request is beside others.")

    @classmethod
    def after(cls, completed: EmbeddingGenerationCompleted, *, update_id: str, priority: Priority = "normal") -> Self:
        """Ask to index what was embedded."""
        return cls(
            update_id=update_id,
            user_id=completed.user_id,
            source=completed.source,
            vectors_key=completed.vectors_key,
            chunk_count=completed.chunk_count,
            priority=priority,
        )


class SearchIndexUpdated(Event, type="search.index.updated", version=1, stream="contextual"):
    """Searches see a change of the index from now on. Published by the contextual core."""

    update_id: Id = Field(description="The request that this answers; a name of its own for a removal.")
    user_id: UserId = Field(description="Whose searches see the change.")
    source: Source = Field(description="What is found, or no longer found.")
    change: Literal["added", "replaced", "removed"] = Field(description="What happened to the source's entries.")
    entry_count: Count = Field(description="How many entries were added, replaced or removed.")
    duration_s: DurationS = Field(description="How long the change took.")


class SearchIndexUpdateFailed(Event, type="search.index.update_failed", version=1, stream="contextual"):
    """The index stays as it was. Published by the contextual core when it gives a request up."""

    update_id: Id = Field(description="The request that this answers.")
    user_id: UserId = Field(description="Whose searches miss the source.")
    source: Source = Field(description="What is not found, or not in its newest form.")
    failure: Failure = Field(description="Why the request was given up.")
