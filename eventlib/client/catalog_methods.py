"""One method for each event of the catalog: it takes what the event's constructor takes, and publishes the event.

A type checker reads the arguments from the event class, so no signature is written here.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec

from eventlib import catalog
from eventlib.events.schema import Event

P = ParamSpec("P")

Method = Callable[Concatenate["CatalogMethods", P], Coroutine[Any, Any, str]]


def publishing(event_class: Callable[P, Event]) -> "Method[P]":
    """The method that makes an event of the class and publishes it."""

    async def publish(self: "CatalogMethods", /, *args: P.args, **kwargs: P.kwargs) -> str:
        return await self.publish(event_class(*args, **kwargs))

    made = inspect.signature(event_class)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    publish.__doc__ = f"Publish `{event_class.__name__}`: {inspect.getdoc(event_class)}"
    vars(publish)["__signature__"] = made.replace(parameters=[itself, *made.parameters.values()], return_annotation=str)
    return publish


class CatalogMethods(ABC):
    """Publishes the events of the catalog. Each method returns the event's id, and raises what `publish` raises, or
    pydantic's ValidationError for a field.
    """

    @abstractmethod
    async def publish(self, event: Event) -> str: ...

    publish_file_uploaded = publishing(catalog.FileUploaded)
    publish_file_text_extracted = publishing(catalog.FileTextExtracted)
    publish_file_text_extraction_failed = publishing(catalog.FileTextExtractionFailed)
    publish_file_deleted = publishing(catalog.FileDeleted)
    publish_embedding_generation_requested = publishing(catalog.EmbeddingGenerationRequested)
    publish_embedding_generation_completed = publishing(catalog.EmbeddingGenerationCompleted)
    publish_embedding_generation_failed = publishing(catalog.EmbeddingGenerationFailed)
    publish_search_index_update_requested = publishing(catalog.SearchIndexUpdateRequested)
    publish_search_index_updated = publishing(catalog.SearchIndexUpdated)
    publish_search_index_update_failed = publishing(catalog.SearchIndexUpdateFailed)
    publish_content_draft_requested = publishing(catalog.ContentDraftRequested)
    publish_content_draft_generated = publishing(catalog.ContentDraftGenerated)
    publish_content_draft_generation_failed = publishing(catalog.ContentDraftGenerationFailed)
    publish_content_draft_revised = publishing(catalog.ContentDraftRevised)
    publish_content_draft_published = publishing(catalog.ContentDraftPublished)
    publish_consultation_requested = publishing(catalog.ConsultationRequested)
    publish_consultation_completed = publishing(catalog.ConsultationCompleted)
    publish_consultation_failed = publishing(catalog.ConsultationFailed)
    publish_market_data_collected = publishing(catalog.MarketDataCollected)
    publish_market_data_collection_failed = publishing(catalog.MarketDataCollectionFailed)
    publish_market_trend_detected = publishing(catalog.MarketTrendDetected)
    publish_notification_requested = publishing(catalog.NotificationRequested)
    publish_notification_sent = publishing(catalog.NotificationSent)
    publish_notification_failed = publishing(catalog.NotificationFailed)
    publish_user_registered = publishing(catalog.UserRegistered)
    publish_user_data_export_requested = publishing(catalog.UserDataExportRequested)
    publish_user_data_export_completed = publishing(catalog.UserDataExportCompleted)
    publish_user_deletion_requested = publishing(catalog.UserDeletionRequested)
    publish_user_deletion_completed = publishing(catalog.UserDeletionCompleted)
    publish_task_queued = publishing(catalog.TaskQueued)
    publish_task_started = publishing(catalog.TaskStarted)
    publish_task_completed = publishing(catalog.TaskCompleted)
    publish_task_failed = publishing(catalog.TaskFailed)
    publish_service_health_changed = publishing(catalog.ServiceHealthChanged)
    publish_alert_raised = publishing(catalog.AlertRaised)
    publish_alert_resolved = publishing(catalog.AlertResolved)
