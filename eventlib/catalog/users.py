"""Users register, ask for their data, and leave. These events carry ids only; the services export and delete the data.

An export or a deletion is tried until it is done, because the law sets a date. An alert tells people when `due_at` is
near.
"""

from typing import Literal, Self

from pydantic import AwareDatetime, Field

from eventlib.catalog.vocabulary import Count, Id, Language, Sha256, SizeBytes, StorageKey, UserId
from eventlib.events.schema import Event


class UserRegistered(Event, type="user.registered", version=1, stream="users"):
    """A user has an account. Published by the user service, which keeps the address, when the address is confirmed."""

    user_id: UserId = Field(description="Names the user in every event; it means nothing outside of this system.")
    language: Language = Field(description="The language in which the user wants to be written to.")
    plan: Literal["free", "member", "premium"] = Field(description="What the user may use.")
    remote_processing: bool = Field(
        default=False, description="True if the user allowed that texts leave our machines to be processed."
    )
    registered_at: AwareDatetime = Field(description="When the address was confirmed.")


class UserDataExportRequested(Event, type="user.data_export.requested", version=1, stream="users"):
    """A user wants a copy of all data. Published by the user service; each service adds the data that it holds."""

    export_id: Id = Field(description="Names this request; the answer carries it.")
    user_id: UserId = Field(description="Whose data has to be exported.")
    format: Literal["json", "csv"] = Field(default="json", description="The format of the files in the archive.")
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
        """Answer a request. The ids are taken from it."""
        return cls(
            export_id=requested.export_id,
            user_id=requested.user_id,
            archive_key=archive_key,
            archive_size_bytes=archive_size_bytes,
            archive_sha256=archive_sha256,
            expires_at=expires_at,
        )


class UserDeletionRequested(Event, type="user.deletion.requested", version=1, stream="users"):
    """A user wants to be forgotten. Published by the user service after the days of grace. Each service deletes the
    data that it holds.
    """

    deletion_id: Id = Field(description="Names this request; the answer carries it.")
    user_id: UserId = Field(description="Whose data has to be deleted.")
    requested_at: AwareDatetime = Field(description="When the user asked: the legal term begins.")
    due_at: AwareDatetime = Field(description="When the legal term ends.")


class UserDeletionCompleted(Event, type="user.deletion.completed", version=1, stream="users"):
    """Only this id is left of the user. Published by the user service when every service has deleted its data."""

    deletion_id: Id = Field(description="The request that this answers.")
    user_id: UserId = Field(description="Who was forgotten; the id no longer names a person.")
    deleted_record_count: Count = Field(description="How many records were deleted, for the proof that is kept.")
    completed_at: AwareDatetime = Field(description="When the last record was deleted.")

    @classmethod
    def answering(
        cls, requested: UserDeletionRequested, *, deleted_record_count: int, completed_at: AwareDatetime
    ) -> Self:
        """Answer a request. The ids are taken from it."""
        return cls(
            deletion_id=requested.deletion_id,
            user_id=requested.user_id,
            deleted_record_count=deleted_record_count,
            completed_at=completed_at,
        )
