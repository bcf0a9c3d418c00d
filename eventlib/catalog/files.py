"""Files that users upload, and the text in them. Events name where content is stored; they never carry it."""

from typing import Literal

from pydantic import AwareDatetime, Field

from eventlib.catalog.vocabulary import (
    PERSONAL,
    Count,
    Failure,
    Id,
    Language,
    MediaType,
    Sha256,
    SizeBytes,
    StorageKey,
    UserId,
)
from eventlib.events.schema import Event


class FileUploaded(Event, type="file.uploaded", version=1, stream="files"):
    """A file is stored whole and its checksum agrees. Published by the file service, once for each upload."""

    file_id: Id = Field(description="Names the file in every event that follows.")
    user_id: UserId = Field(description="Who uploaded the file and owns it.")
    file_name: str = Field(
        min_length=1, max_length=255, description="The name that the user gave the file.", json_schema_extra=PERSONAL
    )
    media_type: MediaType = Field(description="What the content was found to be, such as application/pdf.")
    size_bytes: SizeBytes = Field(description="How large the stored content is.")
    sha256: Sha256 = Field(description="Checksum of the content, lower-case hexadecimal: equal files are found by it.")
    storage_key: StorageKey = Field(description="Where in the object store the content is.")
    uploaded_at: AwareDatetime = Field(description="When the last byte arrived.")


class FileTextExtracted(Event, type="file.text.extracted", version=1, stream="files"):
    """A file's text is stored beside it. Published by the text extraction service."""

    file_id: Id = Field(description="The file that the text is from.")
    user_id: UserId = Field(description="Who owns the file.")
    text_key: StorageKey = Field(description="Where in the object store the text is, as UTF-8.")
    text_size_bytes: SizeBytes = Field(description="How large the text is; zero where the file has none.")
    language: Language | None = Field(default=None, description="What the text is mostly written in, if that is clear.")
    page_count: Count | None = Field(default=None, description="How many pages the file has, if it has pages.")


class FileTextExtractionFailed(Event, type="file.text.extraction_failed", version=1, stream="files"):
    """A file's text cannot be extracted. Published by the text extraction service when it gives the file up."""

    file_id: Id = Field(description="The file that was given up.")
    user_id: UserId = Field(description="Who owns the file and may want to know.")
    failure: Failure = Field(description="Why it was given up.")


class FileDeleted(Event, type="file.deleted", version=1, stream="files"):
    """A file's content and text are gone. Published by the file service. A service that holds something made from the
    file deletes that too.
    """

    file_id: Id = Field(description="The file that is gone.")
    user_id: UserId = Field(description="Who owned the file.")
    cause: Literal["user_request", "retention", "account_deletion"] = Field(description="Why it was deleted.")
    deleted_at: AwareDatetime = Field(description="When the content was removed from the object store.")
