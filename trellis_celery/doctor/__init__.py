"""What could make trellis break its promises here, and what to do about it.

`examine` looks at the store, the broker, the configuration, the declared steps and the live workers. The modules here
judge plain facts, each those of one subject; `asking` gathers them.
"""

from trellis_celery.doctor.examination import CHECKS, examine
from trellis_celery.doctor.finding import Finding, Level
from trellis_celery.doctor.report import Report

__all__ = ["CHECKS", "Finding", "Level", "Report", "examine"]
