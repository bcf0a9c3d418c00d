"""A small shop: one handler that computes, one that waits."""

import asyncio
import hashlib

import numpy as np

import eventlib as ev


class OrderPlaced(ev.Event, type="order.placed", stream="orders"):
    order_id: str
    cents: int


class OrderPaid(ev.Event, type="order.paid", stream="payments"):
    order_id: str


app = ev.App("shop")
app.group("billing", concurrency=8, lease_s=1.0)
app.group("receipts", concurrency=16, lease_s=1.0)


@app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=3, wait_s=0.05))
async def charge(order: OrderPlaced, delivery: ev.Delivery) -> None:
    """Computes: a signature takes the processor, so one consumer makes one at a time."""
    hashlib.pbkdf2_hmac("sha256", order.order_id.encode(), b"salt", 4000 + order.cents)
    if order.cents % 40 == 0:
        raise RuntimeError("the bank does not answer")
    await delivery.bus.publish(OrderPaid(order_id=order.order_id))


@app.subscribe(OrderPaid, group="receipts")
async def send_receipt(paid: OrderPaid, delivery: ev.Delivery) -> None:
    """Waits for a mail server, while others wait too."""
    await asyncio.sleep(0.02)


def order(index: int, rng: np.random.Generator) -> OrderPlaced:
    """What the load sends: order number `index`, of any amount."""
    return OrderPlaced(order_id=f"A{index}", cents=int(rng.integers(100, 9000)))
