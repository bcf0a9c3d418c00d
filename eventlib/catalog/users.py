"""Users come, ask for their data, and go. These events carry ids: a user's data is exported and deleted where it is.

An export or a deletion never fails for good: the law sets a date. It is tried until it is done; an alert tells people
when `due_at` comes near.
"""

from typing import Literal, Self

from pydantic import AwareDatetime, Field

from eventlib.catalog.vocabulary import Count, Id, Language, Sha256, SizeBytes, StorageKey, UserId
from eventlib.events.schema import Event


class UserRegistered(Event, type="user.registered", version=1, stream="users"):
    """Someone has an account. Published by the user service when the address is confirmed; it keeps the address."""

    user_id: UserId = Field(description="Names the user in every event, and outside of this system to nobody.")
    language: Language = Field(description="What the user wants to be written to in.")
    plan: Literal["free", "member", "premium"] = Field(description="What the user may use.")
    remote_processing: bool = Field(
        default=False, description="True if the user allowed that texts leave our machines to be processed."
    )
    registered_at: AwareDatetime = Field(description="When the address was confirmed.")


class UserDataExportRequested(Event, type="user.data_export.requested", version=1, stream="users"):
    """A user wants a copy of everything. Published by the user service; each service adds what it holds."""

    export_id: Id = Field(description="Names this request; the answer carries it.")
    user_id: UserId = Field(description="Whose data shall be exported.")
    format: Literal["json", "csv"] = Field(default="json", description="What the files in the archive are.")
    requested_at: AwareDatetime = Field(description="When the user asked: the legal term begins.")
    due_at: AwareDatetime = Field(description="When the legal term ends.")


class UserDataExportCompleted(Event, type="user.data_export.completed", version=1, stream="users"):
    """The archive can be downloaded. Published by the user service when every service has added its part."""

    export_id: Id = Field(description="The request that this answers.")
    user_id: UserId = Field(description="Whose data is in the archive.")
    archive_key: StorageKey = Field(description="Where in the object store the archive is, encrypted.")
    archive_size_bytes: SizeBytes = Field(description="How large the archive is.")
    archive_sha256: Sha256 = Field(description="Checksum of the archive, lower-case hexadecimal.")
    expires_at: AwareDatetime = Field(description="When the archive will be deleted.")

    @classmethod
    def answering(
        cls,
        requested: UserDataExportRequested,
        *,
        archive_key: str,
        archive_size_bytes: int,
        archive_sha256: str,
        expires_at: AwareDatetime,
    ) -> Self:
        """Answer a request: whose data it is, is not for the caller to say."""
        return cls(
            export_id=requested.export_id,
            user_id=requested.user_id,
            archive_key=archive_key,
            archive_size_bytes=archive_size_bytes,
            archive_sha256=archive_sha256,
            expires_at=expires_at,
        )


class UserDeletionRequested(Event, type="user.deletion.requested", version=1, stream="users"):
    """A user wants to be forgotten. Published by the user service after the days of grace; each service deletes what it
    holds.
    """

    deletion_id: Id = Field(description="Names this request; the answer carries it.")
    user_id: UserId = Field(description="Whose data shall be deleted.")
    requested_at: AwareDatetime = Field(description="When the user asked: the legal term begins.")
    due_at: AwareDatetime = Field(description="When the legal term ends.")


class UserDeletionCompleted(Event, type="user.deletion.completed", version=1, stream="users"):
    """Nothing of the user is left but this id. Published by the user service when every service has deleted its own."""

    deletion_id: Id = Field(description="The request that this answers.")
    user_id: UserId = Field(description="Who is forgotten; the id names nobody any more.")
    deleted_record_count: Count = Field(description="How many records went, for the proof that is kept.")
    completed_at: AwareDatetime = Field(description="When the last of them was gone.")

    @classmethod
    def answering(
        cls, requested: UserDeletionRequested, *, deleted_record_count: int, completed_at: AwareDatetime
    ) -> Self:
        """Answer a request: who is forgotten, is not for the caller to say."""
        return cls(
            deletion_id=requested.deletion_id,
            user_id=requested.user_id,
            deleted_record_count=deleted_record_count,
            completed_at=completed_at,
        )
