"""One of each event of the catalog, made as a program makes it. To mypy this is the file of correct calls."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from eventlib.catalog import (
    AlertRaised,
    AlertResolved,
    ConsultationCompleted,
    ConsultationFailed,
    ConsultationRequested,
    ContentDraftGenerated,
    ContentDraftGenerationFailed,
    ContentDraftPublished,
    ContentDraftRequested,
    ContentDraftRevised,
    EmbeddingGenerationCompleted,
    EmbeddingGenerationFailed,
    EmbeddingGenerationRequested,
    Failure,
    FileDeleted,
    FileTextExtracted,
    FileTextExtractionFailed,
    FileUploaded,
    HealthCheck,
    MarketDataCollected,
    MarketDataCollectionFailed,
    MarketTrendDetected,
    Message,
    NotificationFailed,
    NotificationRequested,
    NotificationSent,
    Observation,
    SearchIndexUpdated,
    SearchIndexUpdateFailed,
    SearchIndexUpdateRequested,
    ServiceHealthChanged,
    Source,
    TaskCompleted,
    TaskFailed,
    TaskQueued,
    TaskStarted,
    UserDataExportCompleted,
    UserDataExportRequested,
    UserDeletionCompleted,
    UserDeletionRequested,
    UserRegistered,
)
from eventlib.events.schema import Event

NOON = datetime(2026, 5, 4, 12, 0, 0, 250_000, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)
USER = "01J9ZC3V5N8M4T7Q2R6W1X0Y9A"
FILE = Source(kind="file", id="01J9ZC4F0K2B6D8H1J3M5P7R9T")
BUSY = Failure(code="model_busy", message="no slot was free for 60 s", retryable=True)

uploaded = FileUploaded(
    file_id=FILE.id,
    user_id=USER,
    file_name="glaze-recipes.pdf",
    media_type="application/pdf",
    size_bytes=184_320,
    sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    storage_key="files/01J9ZC4F0K2B6D8H1J3M5P7R9T/content",
    uploaded_at=NOON,
)
extracted = FileTextExtracted(
    file_id=FILE.id,
    user_id=USER,
    text_key="files/01J9ZC4F0K2B6D8H1J3M5P7R9T/text",
    text_size_bytes=20_480,
    language="pt-BR",
    page_count=12,
)
embedding_requested = EmbeddingGenerationRequested(
    generation_id="g1",
    user_id=USER,
    source=FILE,
    text_key=extracted.text_key,
    text_size_bytes=20_480,
    model="minilm-l6-v2",
    processing="local",
    priority="high",
)
embedded = EmbeddingGenerationCompleted(
    generation_id="g1",
    user_id=USER,
    source=FILE,
    model="minilm-l6-v2",
    vectors_key="vectors/g1",
    chunk_count=41,
    dimension_count=384,
    duration_s=1.75,
)
notification_requested = NotificationRequested(
    notification_id="n1",
    user_id=USER,
    message=Message(title="Welcome!", body="Your account is ready."),
    channels=("email", "push"),
    priority="normal",
    expires_at=LATER,
)
export_requested = UserDataExportRequested(
    export_id="x1", user_id=USER, format="csv", requested_at=NOON, due_at=NOON + timedelta(days=30)
)
deletion_requested = UserDeletionRequested(
    deletion_id="d1", user_id=USER, requested_at=NOON, due_at=NOON + timedelta(days=30)
)
alert_raised = AlertRaised(
    alert_id="a1",
    rule="lag/contextual",
    severity="critical",
    service="contextual-core",
    summary="The group is more than a minute behind.",
    value=75.5,
    threshold=60.0,
    raised_at=NOON,
)

SAMPLES: tuple[Event, ...] = (
    uploaded,
    extracted,
    FileTextExtractionFailed(
        file_id=FILE.id,
        user_id=USER,
        failure=Failure(code="encrypted", message="the file asks for a password", retryable=False),
    ),
    FileDeleted(file_id=FILE.id, user_id=USER, cause="user_request", deleted_at=LATER),
    embedding_requested,
    embedded,
    EmbeddingGenerationFailed(
        generation_id="g1", user_id=USER, source=FILE, model="minilm-l6-v2", done_chunk_count=3, failure=BUSY
    ),
    SearchIndexUpdateRequested(
        update_id="u1", user_id=USER, source=FILE, vectors_key="vectors/g1", chunk_count=41, priority="low"
    ),
    SearchIndexUpdated(update_id="u1", user_id=USER, source=FILE, change="replaced", entry_count=41, duration_s=0.02),
    SearchIndexUpdateFailed(update_id="u1", user_id=USER, source=FILE, failure=BUSY),
    ContentDraftRequested(
        draft_id="c1",
        user_id=USER,
        kind="newsletter",
        brief_key="briefs/c1",
        language="de",
        sources=(FILE, Source(kind="market_series", id="prices:ceramics")),
        processing="remote",
    ),
    ContentDraftGenerated(
        draft_id="c1",
        user_id=USER,
        text_key="drafts/c1/1",
        word_count=320,
        model="mistral-7b",
        processing="remote",
        duration_s=14.2,
    ),
    ContentDraftGenerationFailed(draft_id="c1", user_id=USER, failure=BUSY),
    ContentDraftRevised(
        draft_id="c1", user_id=USER, revision=2, revised_by="user", text_key="drafts/c1/2", word_count=301
    ),
    ContentDraftPublished(draft_id="c1", user_id=USER, revision=2, outlet="newsletter", published_at=LATER),
    ConsultationRequested(
        consultation_id="q1", user_id=USER, topic="pricing", question_key="questions/q1", language="en", sources=(FILE,)
    ),
    ConsultationCompleted(
        consultation_id="q1",
        user_id=USER,
        answer_key="answers/q1",
        cited_source_count=1,
        model="mistral-7b",
        processing="local",
        duration_s=38.0,
    ),
    ConsultationFailed(consultation_id="q1", user_id=USER, failure=BUSY),
    MarketDataCollected(
        collection_id="m1",
        provider="eurostat",
        series="prices/ceramics/eu",
        unit="EUR",
        observations=(
            Observation(observed_at=NOON, value=Decimal("18.40")),
            Observation(observed_at=LATER, value=Decimal("-0.10")),
        ),
    ),
    MarketDataCollectionFailed(
        collection_id="m2", provider="eurostat", series="prices/ceramics/eu", next_visit_at=LATER, failure=BUSY
    ),
    MarketTrendDetected(
        trend_id="t1",
        series="prices/ceramics/eu",
        direction="falling",
        change_ratio=-0.2,
        confidence=0.97,
        window_began_at=NOON,
        window_ended_at=LATER,
    ),
    notification_requested,
    NotificationSent(notification_id="n1", user_id=USER, channel="email", sent_at=LATER),
    NotificationFailed(notification_id="n1", user_id=USER, channel="push", attempts=3, failure=BUSY),
    UserRegistered(user_id=USER, language="de", plan="member", remote_processing=True, registered_at=NOON),
    export_requested,
    UserDataExportCompleted(
        export_id="x1",
        user_id=USER,
        archive_key="exports/x1",
        archive_size_bytes=5_242_880,
        archive_sha256="0" * 64,
        expires_at=LATER,
    ),
    deletion_requested,
    UserDeletionCompleted(deletion_id="d1", user_id=USER, deleted_record_count=1204, completed_at=LATER),
    TaskQueued(task_id="k1", name="thumbnails", priority="critical", attempts_max=3, run_at=LATER),
    TaskStarted(task_id="k1", name="thumbnails", attempt=1, worker="worker-7", waited_s=0.3),
    TaskCompleted(task_id="k1", name="thumbnails", attempt=2, duration_s=0.8),
    TaskFailed(task_id="k1", name="thumbnails", attempt=1, duration_s=0.1, failure=BUSY, next_attempt_at=LATER),
    ServiceHealthChanged(
        service="contextual-core",
        instance="core-1",
        status="degraded",
        previous_status="healthy",
        checks=(HealthCheck(name="redis", status="healthy"), HealthCheck(name="disk", status="degraded")),
        observed_at=NOON,
    ),
    alert_raised,
    AlertResolved(alert_id="a1", rule="lag/contextual", service="contextual-core", resolved_at=LATER, duration_s=300.0),
)
