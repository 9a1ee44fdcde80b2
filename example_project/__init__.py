"""A referral service as a team would write it, and a demo that breaks it on purpose."""
