"""Routing keys: three words, whatever things are called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_celery.domain.events import EventKind
from trellis_celery.domain.identity import MAX_IDENTIFIER_LENGTH
from trellis_celery.plugin.exchange import routing_key

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=MAX_IDENTIFIER_LENGTH)


def test_plain_names_stand_as_they_are() -> None:
    assert routing_key("tenant-1", "ReferralJourney", "step_completed") == "tenant-1.ReferralJourney.step_completed"


def test_what_means_something_in_a_binding_is_encoded() -> None:
    assert routing_key("a.b", "#*%", "step_completed") == "a%2Eb.%23%2A%25.step_completed"


@given(names, names, st.sampled_from(EventKind))
def test_every_key_has_three_words_and_fits_into_amqp(tenant_id: str, process_type: str, kind: EventKind) -> None:
    key = routing_key(tenant_id, process_type, kind)

    assert len(key.split(".")) == 3
    assert len(key.encode()) <= 255
    assert not set(key) & set("*#")


@pytest.mark.fault("X2")
@given(names, names)
def test_different_tenants_have_different_keys(one: str, other: str) -> None:
    keys = {routing_key(name, "Type", "step_completed") for name in (one, other)}

    assert len(keys) == len({one, other})
