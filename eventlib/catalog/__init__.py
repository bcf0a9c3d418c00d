"""The reference system's events: every fact that its services tell each other, with one module for each domain.

    stream          domains              its readers, and why these events share a stream
    files           files                text extraction, embedding, search: the steps that a file passes, in order
    contextual      embeddings, search   only the contextual core: an index update follows its embedding
    content         content drafts       the content drafter, and the gateway that shows its drafts
    consultation    consultation         the business consultant: few and slow events that must not delay others
    market          market data          the readers of market data: bursts that must not delay a user's work
    notifications   notifications        the signal service
    users           users                every service that holds data: exports and deletions concern all of them
    tasks           tasks                monitors of the task queue: the most events, kept for the shortest time
    system          health, alerts       the guardian service and the people on call

Events of one stream keep their order and share their retention, and a service reads whole streams. So a stream holds
events that are read together, not events with similar names.

Conventions, which tests check:

- A type is `subject.aspect.happened`. Its last word is a past participle, and the class has the same name.
- A request has its own id, and every answer carries it.
- Times are aware. Sizes end in `_bytes`, durations in `_s`, counts in `_count`.
- Content stays in the object store, and an event names its key.
- An event with personal data says in `user_id` whose data it is.

The classes are the typed constructors. `answering`, `after` and `of` make an event from the one that it follows.
"""

from types import MappingProxyType

from eventlib.catalog.consultation import ConsultationCompleted, ConsultationFailed, ConsultationRequested
from eventlib.catalog.content import (
    ContentDraftGenerated,
    ContentDraftGenerationFailed,
    ContentDraftPublished,
    ContentDraftRequested,
    ContentDraftRevised,
)
from eventlib.catalog.embeddings import (
    EmbeddingGenerationCompleted,
    EmbeddingGenerationFailed,
    EmbeddingGenerationRequested,
)
from eventlib.catalog.files import FileDeleted, FileTextExtracted, FileTextExtractionFailed, FileUploaded
from eventlib.catalog.health import AlertRaised, AlertResolved, HealthCheck, ServiceHealthChanged
from eventlib.catalog.market import MarketDataCollected, MarketDataCollectionFailed, MarketTrendDetected, Observation
from eventlib.catalog.notifications import Channel, Message, NotificationFailed, NotificationRequested, NotificationSent
from eventlib.catalog.search import SearchIndexUpdated, SearchIndexUpdateFailed, SearchIndexUpdateRequested
from eventlib.catalog.tasks import TaskCompleted, TaskFailed, TaskQueued, TaskStarted
from eventlib.catalog.users import (
    UserDataExportCompleted,
    UserDataExportRequested,
    UserDeletionCompleted,
    UserDeletionRequested,
    UserRegistered,
)
from eventlib.catalog.vocabulary import Failure, Part, Priority, Source
from eventlib.events.schema import Event

EVENTS: tuple[type[Event], ...] = (
    FileUploaded,
    FileTextExtracted,
    FileTextExtractionFailed,
    FileDeleted,
    EmbeddingGenerationRequested,
    EmbeddingGenerationCompleted,
    EmbeddingGenerationFailed,
    SearchIndexUpdateRequested,
    SearchIndexUpdated,
    SearchIndexUpdateFailed,
    ContentDraftRequested,
    ContentDraftGenerated,
    ContentDraftGenerationFailed,
    ContentDraftRevised,
    ContentDraftPublished,
    ConsultationRequested,
    ConsultationCompleted,
    ConsultationFailed,
    MarketDataCollected,
    MarketDataCollectionFailed,
    MarketTrendDetected,
    NotificationRequested,
    NotificationSent,
    NotificationFailed,
    UserRegistered,
    UserDataExportRequested,
    UserDataExportCompleted,
    UserDeletionRequested,
    UserDeletionCompleted,
    TaskQueued,
    TaskStarted,
    TaskCompleted,
    TaskFailed,
    ServiceHealthChanged,
    AlertRaised,
    AlertResolved,
)

# Every stream of the reference system, and what travels on it.
STREAMS = MappingProxyType(
    {
        "files": "files that users upload, and the text in them",
        "contextual": "embeddings and the search index made from texts",
        "content": "drafts from the first request to their publication",
        "consultation": "questions to the business consultant and its answers",
        "market": "observations from open sources, and trends in them",
        "notifications": "messages to users, and whether they were sent",
        "users": "accounts, data exports and deletions",
        "tasks": "the life of background tasks",
        "system": "health of the services, and alerts",
    }
)

__all__ = [
    "EVENTS",
    "STREAMS",
    "AlertRaised",
    "AlertResolved",
    "Channel",
    "ConsultationCompleted",
    "ConsultationFailed",
    "ConsultationRequested",
    "ContentDraftGenerated",
    "ContentDraftGenerationFailed",
    "ContentDraftPublished",
    "ContentDraftRequested",
    "ContentDraftRevised",
    "EmbeddingGenerationCompleted",
    "EmbeddingGenerationFailed",
    "EmbeddingGenerationRequested",
    "Failure",
    "FileDeleted",
    "FileTextExtracted",
    "FileTextExtractionFailed",
    "FileUploaded",
    "HealthCheck",
    "MarketDataCollected",
    "MarketDataCollectionFailed",
    "MarketTrendDetected",
    "Message",
    "NotificationFailed",
    "NotificationRequested",
    "NotificationSent",
    "Observation",
    "Part",
    "Priority",
    "SearchIndexUpdateFailed",
    "SearchIndexUpdateRequested",
    "SearchIndexUpdated",
    "ServiceHealthChanged",
    "Source",
    "TaskCompleted",
    "TaskFailed",
    "TaskQueued",
    "TaskStarted",
    "UserDataExportCompleted",
    "UserDataExportRequested",
    "UserDeletionCompleted",
    "UserDeletionRequested",
    "UserRegistered",
]
