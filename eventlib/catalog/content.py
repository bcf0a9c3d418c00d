"""Drafts that the content drafter writes for users, until they are published."""

from typing import Literal

from pydantic import AwareDatetime, Field

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


class ContentDraftRequested(Event, type="content.draft.requested", version=1, stream="content"):
    """A user wants a draft. Published by the gateway once the brief is stored."""

    draft_id: Id = Field(description="Names the draft in every event that follows.")
    user_id: UserId = Field(description="Who asked for the draft and will own it.")
    kind: Literal["article", "newsletter", "social_post", "product_description"] = Field(
        description="What kind of text is wanted."
    )
    brief_key: StorageKey = Field(description="Where in the object store the user's own words are.")
    language: Language = Field(description="The language of the draft.")
    sources: tuple[Source, ...] = Field(default=(), max_length=50, description="What the draft may use.")
    processing: Processing = Field(default="local", description="Remote: the brief may leave our machines.")
    priority: Priority = Field(default="normal", description="How urgent the request is beside others.")


class ContentDraftGenerated(Event, type="content.draft.generated", version=1, stream="content"):
    """The first revision of a draft is stored. Published by the content drafter, in answer to a request."""

    draft_id: Id = Field(description="The draft that was asked for.")
    user_id: UserId = Field(description="Who owns the draft.")
    text_key: StorageKey = Field(description="Where in the object store the text is, as UTF-8.")
    word_count: Count = Field(description="How long the text is.")
    model: Name = Field(description="Which language model wrote it.")
    processing: Processing = Field(description="Where the model ran.")
    duration_s: DurationS = Field(description="How long the model took.")


class ContentDraftGenerationFailed(Event, type="content.draft.generation_failed", version=1, stream="content"):
    """There will be no draft. Published by the content drafter when it gives a request up."""

    draft_id: Id = Field(description="The draft that was asked for.")
    user_id: UserId = Field(description="Who asked for it.")
    failure: Failure = Field(description="Why the request was given up.")


class ContentDraftRevised(Event, type="content.draft.revised", version=1, stream="content"):
    """A draft has a new text; the older texts stay. Published by the gateway when a user saves, and by the content
    drafter when it was asked for another try.
    """

    draft_id: Id = Field(description="The draft that was revised.")
    user_id: UserId = Field(description="Who owns the draft.")
    revision: int = Field(ge=2, description="Which text of the draft this is; the generated one was the first.")
    revised_by: Literal["user", "drafter"] = Field(description="Who changed the text.")
    text_key: StorageKey = Field(description="Where in the object store the new text is, as UTF-8.")
    word_count: Count = Field(description="How long the new text is.")


class ContentDraftPublished(Event, type="content.draft.published", version=1, stream="content"):
    """A draft is public. Published by the gateway when the outlet has confirmed it."""

    draft_id: Id = Field(description="The draft that was published.")
    user_id: UserId = Field(description="Who owns the draft.")
    revision: int = Field(ge=1, description="Which text of the draft was published.")
    outlet: Literal["website", "newsletter", "social"] = Field(description="Where it can be read.")
    published_at: AwareDatetime = Field(description="When the outlet confirmed it.")
