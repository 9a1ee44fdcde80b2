"""The work. Each task may be run again at any point: it asks first and writes last, and writing twice does no harm."""

from example_project.referrals import database, partners
from example_project.referrals.celery import app
from example_project.referrals.processes import ReferralIntake, ReferralNotification
from trellis_celery import current_step, process_step


@process_step(ReferralIntake.check_insurance)
@app.task
def check_insurance(referral_id: str) -> None:
    """Ask the insurer whether it pays."""
    answer = partners.ask("insurer", referral_id)
    database.save(referral_id, "check_insurance", answer)


@process_step(ReferralIntake.request_records)
@app.task
def request_records(referral_id: str) -> None:
    """Fetch the patient's records from the hospital, which is known to be slow."""
    records = partners.ask("hospital", referral_id)
    step = current_step()
    if step is None or step.is_current():  # else another attempt has taken over meanwhile
        database.save(referral_id, "request_records", records)


@process_step(ReferralIntake.book_appointment)
@app.task
def book_appointment(referral_id: str) -> None:
    """Book an appointment in the clinic's calendar, which has a queue and a worker of its own."""
    appointment = partners.ask("calendar", referral_id)
    database.save(referral_id, "book_appointment", appointment)


@process_step(ReferralNotification.send_email)
@app.task
def send_email(referral_id: str) -> None:
    """Tell the referring doctor. The gateway sends one mail per referral however often it is asked."""
    receipt = partners.ask("mail gateway", referral_id)
    database.save(referral_id, "send_email", receipt)


@process_step(ReferralNotification.send_in_app)
@app.task
def send_in_app(referral_id: str) -> None:
    """Tell the clinic in its own application."""
    receipt = partners.ask("clinic", referral_id)
    database.save(referral_id, "send_in_app", receipt)
