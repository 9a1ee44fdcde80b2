"""What a store promises about names: none means anything to it, and no two are taken for one."""

from __future__ import annotations

from itertools import permutations

from trellis_celery.domain.identity import MAX_IDENTIFIER_LENGTH
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import LeaseKey, ProcessStore, StepKey
from trellis_celery.testing.contract.builders import (
    MINUTE_MS,
    apply,
    complete,
    created,
    deadlines,
    lapsed,
    message_of,
    start,
)

HOSTILE = (
    " ",
    "a b",
    "a:b",
    "a|b",
    "1|a",
    "a#b",
    "a/b",
    "../a",
    "{a}",
    "}{",
    "*",
    "?",
    "[a-z]",
    "%",
    "_",
    "\\",
    "'",
    '"',
    '"a","b"',
    "'; DROP TABLE processes; --",
    "<script>",
    "KEYS[1]",
    "return 1",
    "s:a",
    "n:0",
    "class",
    "state",
    "version",
    "None",
    "0",
    "-1",
    "é",
    "e\u0301",
    "\u202eright to left",
    "😀",
    "x" * MAX_IDENTIFIER_LENGTH,
    "x" * (MAX_IDENTIFIER_LENGTH - 1),
)


class IdentifierPromises:
    def test_steps_of_any_name_are_kept_apart(self, store: ProcessStore) -> None:
        steps = [ProcessStep(name, timeout_ms=1_000 + index) for index, name in enumerate(HOSTILE)]
        process = created(store, *steps)

        for index, name in enumerate(HOSTILE):
            rule = start(at_ms=1_000, is_leased=True)
            apply(store, process, rule, name, message=f"message {index}".encode(), lease_ms=1)

        loaded = store.load(process.id)
        assert list(loaded.steps) == list(HOSTILE)
        assert loaded.steps == process.steps
        assert [message_of(store, process, name) for name in HOSTILE] == [
            f"message {index}".encode() for index in range(len(HOSTILE))
        ]
        assert [item.key.step_name for item in deadlines(store, now_ms=100_000)] == list(HOSTILE)
        assert {item.key.step_name for item in lapsed(store, now_ms=store.now_ms() + MINUTE_MS)} == set(HOSTILE)
        assert {event.step_name for event in store.history(process.id)} == {"", *HOSTILE}

    def test_the_lease_of_a_step_of_any_name_is_renewed(self, store: ProcessStore) -> None:
        process = created(store, *HOSTILE)
        for name in HOSTILE:
            apply(store, process, start(is_leased=True), name, lease_ms=1)
        until_ms = store.now_ms() + 60 * MINUTE_MS

        store.renew([LeaseKey(process.id, name, 1) for name in HOSTILE], until_ms=until_ms)

        assert lapsed(store, now_ms=until_ms - 1) == []
        assert len(lapsed(store, now_ms=until_ms)) == len(HOSTILE)

    def test_business_keys_of_any_parts_are_kept_apart(self, store: ProcessStore) -> None:
        processes = [created(store, tenant_id=name, aggregate_id=name) for name in HOSTILE]

        assert [store.find(process.key) for process in processes] == [process.id for process in processes]
        assert store.load(processes[0].id).key == processes[0].key

    def test_the_parts_of_a_business_key_do_not_run_together(self, store: ProcessStore) -> None:
        for separator in ("#", ":", "|", ",", '","', "/", " "):
            texts = [f"a{separator}b", "c", f"b{separator}c", "a"]
            keys = [
                {"tenant_id": one, "process_type": two, "aggregate_type": three, "aggregate_id": separator}
                for one, two, three in permutations(texts, 3)
            ]
            processes = [created(store, **key) for key in keys]
            assert len({process.id for process in processes}) == len(keys)

    def test_deleting_a_process_leaves_those_with_similar_names_alone(self, store: ProcessStore) -> None:
        processes = [created(store, name, "a", aggregate_id=name) for name in HOSTILE if name != "a"]
        for process, name in zip(processes, HOSTILE, strict=True):
            apply(store, process, start(), name, message=b"message")

        store.delete(processes[0].id)

        for process, name in list(zip(processes, HOSTILE, strict=True))[1:]:
            assert store.load(process.id).steps == process.steps
            assert message_of(store, process, name) == b"message"
            apply(store, process, complete(), name)

    def test_a_step_of_another_process_is_another_step(self, store: ProcessStore) -> None:
        first, second = created(store, "step", "a|step"), created(store, "step", "a|step")
        apply(store, first, start(), message=b"first")

        assert store.load_steps([StepKey(second.id, "step")]) == [second.step("step")]
        assert message_of(store, second) is None
        assert len(store.history(second.id)) == 1
