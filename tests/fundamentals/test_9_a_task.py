"""A task is a function that a worker runs later. What it returns comes back to whoever asked."""

import eventlib as ev
from tests.shop import Connect


async def test_a_task_runs_in_a_worker_and_its_result_comes_back(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task(priority="high", retry=ev.Retry(attempts=3, wait_s=0.01))
    async def send_receipt(order_id: str, copies: int = 1) -> list[str]:
        await ev.current_task().progress(0.5, "half")
        return [f"receipt {number} of {order_id}" for number in range(1, copies + 1)]

    async with connect(app) as bus:
        handle = await bus.enqueue(send_receipt)("A1", copies=2)  # any program that declares the task may do this
        assert (await handle.state()).state == "waiting"
        async with bus.running():
            assert await handle.result(timeout_s=10.0) == ["receipt 1 of A1", "receipt 2 of A1"]
        assert (await handle.state()).progress == 0.5


async def test_a_task_may_wait_for_its_time_and_be_cancelled(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task()
    async def remind(order_id: str) -> None: ...

    async with connect(app) as bus:
        handle = await bus.enqueue(remind, delay_s=3600.0)("A1")
        assert (await handle.state()).state == "delayed"
        assert await handle.cancel() == "cancelled"
