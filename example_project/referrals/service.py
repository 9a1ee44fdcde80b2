"""What the rest of the company calls: a web application, for instance."""

from example_project.referrals import database, tasks
from example_project.referrals.celery import trellis
from example_project.referrals.processes import ReferralIntake, ReferralNotification
from trellis_celery import ProcessHandle

TENANT = "clinic-7"


def take_in(referral_id: str) -> ProcessHandle:
    """Start the intake of a referral.

    While it goes on, calling this again returns the same process and sends the tasks again: no worker starts a step a
    second time because of that. After its end, calling this starts another intake.
    """
    with trellis.start_process(
        ReferralIntake, tenant_id=TENANT, aggregate_type="Referral", aggregate_id=referral_id
    ) as process:
        tasks.check_insurance.delay(referral_id)
        tasks.request_records.delay(referral_id)
        tasks.book_appointment.delay(referral_id)
    return process


def notify(referral_id: str) -> ProcessHandle:
    """Tell everyone concerned about a referral."""
    with trellis.start_process(
        ReferralNotification, tenant_id=TENANT, aggregate_type="Referral", aggregate_id=referral_id
    ) as process:
        tasks.send_email.delay(referral_id)
        tasks.send_in_app.delay(referral_id)
    return process


def acknowledge(process_id: str, *, by: str) -> None:
    """Somebody at the clinic has clicked on "seen"."""
    process = trellis.get_process(process_id)
    database.save(process.process.aggregate_id, "acknowledge", by)
    process.complete_step("acknowledge", by=by)
