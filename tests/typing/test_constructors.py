"""Constructors of events, the client's methods and calls of tasks are typed: mypy knows what they take and return."""

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]

# Lines with a comment are wrong, as it says. `tests/catalog_samples.py` is the file of correct calls.
WRONG = """\
from datetime import datetime

from eventlib import App, Bus, Client, TaskHandle
from eventlib.catalog import (
    AlertRaised, AlertResolved, EmbeddingGenerationCompleted, EmbeddingGenerationRequested, Failure, FileDeleted,
    Message, NotificationRequested, NotificationSent, Source, TaskQueued, UserRegistered,
)

TaskQueued(task_id="k1", nam="thumbnails")  # call-arg
TaskQueued(task_id="k1")  # call-arg
TaskQueued("k1", "thumbnails")  # call-arg
TaskQueued(task_id=1, name="thumbnails")  # arg-type
TaskQueued(task_id="k1", name="thumbnails", priority="urgent")  # arg-type
TaskQueued(task_id="k1", name="thumbnails", attempts_max="3")  # arg-type
TaskQueued(task_id="k1", name="thumbnails", run_at="2026-05-04")  # arg-type
FileDeleted(file_id="f1", user_id="u1", cause="whim", deleted_at=datetime.now())  # arg-type
Failure(code="busy", message="busy", retryable="no")  # arg-type
Source(kind="folder", id="f1")  # arg-type
NotificationRequested(notification_id="n1", user_id="u1", message="Hello", channels=("email",))  # arg-type
hello = Message(title="Hello", body="")
NotificationRequested(notification_id="n1", user_id="u1", message=hello, channels=("fax",))  # arg-type


def follow(queued: TaskQueued, requested: EmbeddingGenerationRequested, raised: AlertRaised) -> None:
    queued.attempts_max.upper()  # attr-defined
    queued.task_id = "k2"  # misc
    EmbeddingGenerationRequested.after(queued, generation_id="g1", model="minilm-l6-v2")  # arg-type
    EmbeddingGenerationCompleted.answering(requested, vectors_key="", chunk_count=1, duration_s=1)  # call-arg
    AlertResolved.of(raised, resolved_at=5)  # arg-type
    deleted: UserRegistered = AlertResolved.of(raised, resolved_at=datetime.now())  # assignment


NOW = datetime.now()


async def ask(client: Client, queued: TaskQueued) -> None:
    await client.publish_task_queued(task_id="k1", nam="thumbnails")  # call-arg
    await client.publish_task_queued(task_id="k1")  # call-arg
    await client.publish_task_queued(task_id=1, name="thumbnails")  # arg-type
    await client.publish_task_queued("k1", "thumbnails")  # call-arg
    await client.publish_notification_sent(notification_id="n1", user_id="u1", channel="fax", sent_at=NOW)  # arg-type
    await client.publish_file_deleted(file_id="f1", user_id="u1", cause="retention", deleted_at="now")  # arg-type
    await client.publish_order_placed(order_id="A1")  # attr-defined
    (await client.request(queued, UserRegistered, timeout_s=1.0)).task_id  # attr-defined
    (await client.request(queued, UserRegistered | FileDeleted, timeout_s=1.0)).user_id  # attr-defined
    await client.request(queued, "user.registered", timeout_s=1.0)  # call-overload
    await client.request(UserRegistered, FileDeleted, timeout_s=1.0)  # call-overload
    await client.reply("x", UserRegistered)  # call-overload
    async with client.waiting_for(FileDeleted, correlation_id="x", timeout_s=1.0) as waiting:
        pass
    waiting.event.task_id  # attr-defined
    Client(name=1)  # arg-type


APP = App("shop")


@APP.task(priority="urgent")  # call-overload untyped-decorator
async def urgent() -> None: ...


@APP.task
async def count(number: int, unit: str = "pieces") -> int:
    return number


@APP.task()  # arg-type
def blocks(number: int) -> int:
    return number


async def enqueue(bus: Bus) -> None:
    await bus.enqueue(count)()  # call-arg
    await bus.enqueue(count)("3")  # arg-type
    await bus.enqueue(count)(3, "pieces", 5)  # call-arg
    await bus.enqueue(count)(number=3, units="pieces")  # call-arg
    await bus.enqueue(count)(3, unit=5)  # arg-type
    await bus.enqueue(count, priority="urgent")(3)  # arg-type
    await bus.enqueue(count, delay_s="60")(3)  # arg-type
    await bus.enqueue(count, at="2026-05-04")(3)  # arg-type
    await bus.enqueue(count, 60.0)(3)  # call-arg
    await bus.enqueue("count")(3)  # arg-type
    bus.enqueue(count)(3).result()  # attr-defined
    handle: TaskHandle[str] = await bus.enqueue(count)(3)  # assignment
    (await handle.result()).real  # attr-defined
    (await (await bus.enqueue(count)(3)).result(1.0)).upper()  # attr-defined
    if await handle.cancel() == "gone":  # comparison-overlap
        pass
    (await handle.state()).state = "failed"  # misc
    count.call("3")  # arg-type
    await count("3")  # arg-type
    await bus.tasks.enqueue_many([count.call(3)], priority="urgent")  # arg-type
    await bus.tasks.enqueue_many([count])  # arg-type
    found: TaskHandle[str] = bus.tasks.handle(count, "x")  # arg-type
"""


def test_mypy_passes_correct_calls_and_reports_each_wrong_one(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong_calls.py"
    wrong.write_text(WRONG)
    said = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-pretty", "--no-error-summary", str(wrong), "tests/catalog_samples.py"],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    reported = {
        (Path(f).name, int(line), code)
        for f, line, code in re.findall(r"^(\S+?):(\d+): error: .*\[([\w-]+)\]$", said.stdout, re.M)
    }
    expected = {
        (wrong.name, number, code)
        for number, line in enumerate(WRONG.splitlines(), 1)
        for code in line.partition("  # ")[2].split()
    }
    assert reported == expected, said.stdout + said.stderr
