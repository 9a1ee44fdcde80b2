"""Make what Grafana and Prometheus read, from the repository's root: ``python -m docs.grafana.make``.

It needs grafana-foundation-sdk and PyYAML, which the extra ``test`` brings. `dashboard.json` is imported in Grafana
(Dashboards → New → Import); `alerts.yaml` is a file of rules for Prometheus.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from docs.grafana.alerts import GUIDE, rules_yaml
from docs.grafana.dashboard import dashboard_json


def files(*, guide: str = GUIDE) -> dict[str, str]:
    """What there is to be, by name. `guide`: where alarms say that the operations guide is found."""
    return {"dashboard.json": dashboard_json(), "alerts.yaml": rules_yaml(guide=guide)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the dashboard and the rules.")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="the directory for them")
    parser.add_argument("--guide", default=GUIDE, help="where alarms say that the operations guide is found")
    given = parser.parse_args()
    for name, content in files(guide=given.guide).items():
        (given.to / name).write_text(content)
        print(f"written: {given.to / name}")


if __name__ == "__main__":
    main()
