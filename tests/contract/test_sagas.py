"""A saga does its steps in order, and undoes them in reverse order where one fails for good."""

from tests.saga_shop import Charged, Desk, Order, Reserved, order_app
from tests.shop import Connect


async def test_the_steps_run_in_order_and_see_what_earlier_ones_returned(connect: Connect) -> None:
    desk = Desk()
    app, order = order_app(desk)
    async with connect(app) as bus, bus.running():
        saga_id = await bus.start(order, Order(number=7))
        saga = await bus.sagas(order).wait(saga_id, timeout_s=5.0)
        assert (saga.status, desk.acts) == ("completed", ["reserve", "charge", "ship"])
        assert desk.seen["ship"] == {"reserve": Reserved(shelf="s7"), "charge": Charged(receipt=7)}
        assert saga.results == {"reserve": {"shelf": "s7"}, "charge": {"receipt": 7}, "ship": None}
        assert saga.input == {"number": 7}
        assert [note.what for note in await bus.sagas(order).history(saga_id)] == [
            "started",
            *3 * ["done"],
            "completed",
        ]


async def test_a_step_that_fails_for_good_has_the_steps_before_it_undone_in_reverse_order(connect: Connect) -> None:
    desk = Desk()
    desk.fails("ship", ConnectionError("no van"))
    app, order = order_app(desk)
    async with connect(app) as bus, bus.running():
        saga_id = await bus.start(order, Order(number=7))
        saga = await bus.sagas(order).wait(saga_id, timeout_s=5.0)
        assert (saga.status, saga.why) == ("compensated", "step ship failed: ConnectionError: no van")
        assert desk.acts == ["reserve", "charge", *3 * ["ship"], "refund", "release"]
        assert [step.status for step in saga.steps] == ["undone", "undone", "failed"]
