"""Another team's service, which knows nothing of trellis: it bills each referral whose intake is complete.

It hears events from the topic exchange `referral-events` at least once, and those of one process in order. So it
remembers how far it has heard each process, and passes over what it has heard before.

    python -m example_project.billing
"""

from __future__ import annotations

from typing import Any

import redis
from kombu import Connection, Exchange, Message, Queue
from kombu.mixins import ConsumerMixin

from example_project.referrals import settings

EVENTS = Exchange("referral-events", type="topic", durable=True)
#: `tenant.type.event`: whatever the tenant.
INTAKES = Queue("billing", EVENTS, routing_key="*.ReferralIntake.process_completed")


class Billing(ConsumerMixin):
    def __init__(self, connection: Connection, database: redis.Redis) -> None:
        self.connection = connection
        self._database = database

    def get_consumers(self, consumer: Any, channel: Any) -> list[Any]:
        return [consumer(queues=[INTAKES], callbacks=[self.on_event], accept=["json"])]

    def on_event(self, event: dict[str, Any], message: Message) -> None:
        if not self._has_heard(event):
            self._bill(event["aggregate_id"])
            self._remember(event)
        message.ack()  # last: what is heard again is passed over, what is never acknowledged comes again

    def _bill(self, referral_id: str) -> None:
        self._database.sadd(f"{settings.PREFIX}:bills", referral_id)
        print(f"billed {referral_id}", flush=True)

    def _has_heard(self, event: dict[str, Any]) -> bool:
        number = self._database.hget(f"{settings.PREFIX}:billing:heard", event["process_id"])
        return int(number or 0) >= int(event["number"])

    def _remember(self, event: dict[str, Any]) -> None:
        self._database.hset(f"{settings.PREFIX}:billing:heard", event["process_id"], event["number"])


def main() -> None:
    options = {"global_keyprefix": f"{settings.PREFIX}:broker:"}
    with (
        Connection(settings.BROKER_URL, transport_options=options) as connection,
        redis.Redis.from_url(settings.DATABASE_URL, decode_responses=True) as database,
    ):
        Billing(connection, database).run()


if __name__ == "__main__":
    main()
