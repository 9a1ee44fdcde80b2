"""Tasks of a process whose messages are signed, if the test gives a key."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from celery import Task

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

KEY, CERTIFICATES = "TRELLIS_TEST_SIGNING_KEY", "TRELLIS_TEST_CERTIFICATES"

app, trellis, diary = make_app("signed", trellis_signing_key=os.environ.get(KEY, ""))
if directory := os.environ.get(CERTIFICATES):
    app.conf.update(
        security_key=str(Path(directory) / "key.pem"),
        security_certificate=str(Path(directory) / "cert.pem"),
        security_cert_store=str(Path(directory) / "cert.pem"),
        task_serializer="auth",
        event_serializer="auth",
        task_ignore_result=True,
        accept_content=["auth"],
    )
    app.setup_security()


class Order(ProcessType):
    check = Step(timeout_ms=30_000, retries_permitted=1)
    pack = Step(timeout_ms=30_000, retries_permitted=1)
    ship = Step(timeout_ms=30_000, retries_permitted=1)
    bill = Step(timeout_ms=30_000, retries_permitted=1)
    thank = Step(timeout_ms=30_000, retries_permitted=1)
    ask = Step(timeout_ms=30_000, retries_permitted=1)


class Payment(ProcessType):
    pay = Step(timeout_ms=30_000, retries_permitted=1)
    tell = Step(timeout_ms=30_000)


@process_step(Order.check)
@app.task(name="signed.check")
def check(order: str) -> str:
    return order


@process_step(Order.pack)
@app.task(name="signed.pack")
def pack(order: str) -> str:
    ask.delay(order)
    return order


@process_step(Order.ship)
@app.task(name="signed.ship", bind=True)
def ship(self: Task, order: str) -> str:
    """Celery runs it twice."""
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return order


@process_step(Order.bill)
@app.task(name="signed.bill")
def bill(order: str) -> str:
    """The child that runs it first is killed."""
    if diary.write(f"bill {order}") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return order


@process_step(Order.thank)
@app.task(name="signed.thank")
def thank(orders: list[str]) -> list[str]:
    return orders


@process_step(Order.ask)
@app.task(name="signed.ask")
def ask(order: str) -> str:
    return order


@process_step(Payment.pay)
@app.task(name="signed.pay", bind=True)
def pay(self: Task) -> None:
    diary.write(f"pay {self.request.id}")


@process_step(Payment.tell)
@app.task(name="signed.tell", bind=True)
def tell(self: Task) -> None:
    diary.write(f"tell {self.request.id}")
