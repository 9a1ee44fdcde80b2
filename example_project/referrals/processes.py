"""What has to happen to a referral. Web processes import this module, and never the tasks."""

from trellis_celery import ProcessType, Step


class ReferralIntake(ProcessType, deadline_ms=3_600_000):
    """A new referral is made ready for its first appointment."""

    check_insurance = Step(timeout_ms=20_000, retries_permitted=3)
    request_records = Step(timeout_ms=3_000, retries_permitted=3)
    book_appointment = Step(timeout_ms=20_000, retries_permitted=3)


class ReferralNotification(ProcessType):
    """Everyone concerned hears about a new referral."""

    send_email = Step(timeout_ms=30_000, retries_permitted=3)
    send_in_app = Step(timeout_ms=10_000, retries_permitted=2)
    #: The clinic confirms by a click, within a day of the start; else the step fails, and somebody has to look.
    acknowledge = Step(timeout_ms=86_400_000, external=True)
