"""The reference system's events: every fact that its services tell each other, in one module a domain.

    stream          domains              who reads it, and why together
    files           files                text extraction, embedding, search: what a file goes through, in order
    contextual      embeddings, search   the contextual core alone: an index update follows its embedding
    content         content drafts       the content drafter, and the gateway that shows what it wrote
    consultation    consultation         the business consultant: few, long and slow; they hold up nobody else
    market          market data          the market monitor's readers; bursts that must not delay a user's work
    notifications   notifications        the signal service
    users           users                every service: data export and deletion concern whoever holds data
    tasks           tasks                those who watch the task queue: the most events, kept the shortest
    system          health, alerts       the guardian and whoever is on call

Events of one stream keep their order and share their retention; a service reads whole streams. So a stream is what is
read together, not what is named alike.

Conventions, held by tests: a type is `subject.aspect.happened`, its last word a past participle, and the class is named
like it; a request has an id of its own that every answer carries; times are aware, sizes end in `_bytes`, durations in
`_s`, counts in `_count`; content stays in the object store and an event names its key; an event with personal data says
in `user_id` whose it is. The classes are the typed constructors; `answering`, `after` and `of` make an event from the
one that it follows.
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
        "files": "what users upload and what is found in it",
        "contextual": "embeddings and the search index made from texts",
        "content": "drafts from the first request to their publication",
        "consultation": "questions to the business consultant and its answers",
        "market": "observations from open sources and what they show",
        "notifications": "messages to users and what became of them",
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
