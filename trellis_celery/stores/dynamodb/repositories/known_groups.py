"""The groups that were read or written lately: what is known is not read again, nor written where it did not change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from msgspec import Struct, field

from trellis_celery.domain.process import Process
from trellis_celery.stores.dynamodb.calls import Calls
from trellis_celery.stores.dynamodb.keys import Key
from trellis_celery.stores.dynamodb.recent import Recent
from trellis_celery.stores.dynamodb.repositories import groups as forms
from trellis_celery.stores.dynamodb.repositories import process_items
from trellis_celery.stores.dynamodb.repositories.groups import Contents, Group

#: Of what DynamoDB takes, 100 writes and 4 MB, what is left beside head, business key and log.
WRITES_IN_TRANSACTION = 90
BYTES_IN_TRANSACTION = 3_000_000
#: Steps that are remembered.
RECENT_STEPS = 50_000


class Rewriting(Struct):
    """How a process's groups become those of its next version."""

    #: As they are read again: long texts are cut as they are stored.
    contents: list[Contents] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    #: What is new.
    items: list[dict[str, Any]] = field(default_factory=list)
    #: What is not needed any more.
    old: list[Key] = field(default_factory=list)

    @property
    def fits_into_transaction(self) -> bool:
        size = sum(len(item["data"]["B"]) for item in self.items)
        return len(self.items) + len(self.old) <= WRITES_IN_TRANSACTION and size <= BYTES_IN_TRANSACTION


class KnownGroups:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        #: By label and number. Groups never change.
        self._contents: Recent[Contents] = Recent(capacity=RECENT_STEPS)

    def rewriting(self, process: Process, stored: Sequence[Group], *, label: str) -> Rewriting:
        """Raises DefinitionError if the metadata are not JSON values, StoreError if they are too long."""
        partition = process_items.partition(process.id)
        result = Rewriting()
        for number, contents in enumerate(forms.contents_of(process)):
            old = stored[number] if number < len(stored) else None
            if old is not None and self._contents.get(_place(number, old)) == contents:
                result.contents.append(contents)
                result.groups.append(old)
                continue
            data = forms.dump_contents(contents)
            result.contents.append(forms.load_contents(number, data))
            if old is not None and old.digest == forms.digest_of(data):
                result.groups.append(old)
                continue
            new, items = forms.dump_group(partition, number, data, label=label)
            result.groups.append(new)
            result.items += items
        for number, old in enumerate(stored):
            if old not in result.groups[number : number + 1]:
                result.old += forms.keys_of(partition, number, old)
        return result

    def remember(self, rewriting: Rewriting) -> None:
        """It was written."""
        for number, (group, contents) in enumerate(zip(rewriting.groups, rewriting.contents, strict=True)):
            self._remember(number, group, contents)

    def read(self, process_id: str, groups: Sequence[Group]) -> list[Contents] | None:
        """The contents of all these groups; None if one of them is not there any more. Raises CorruptRecord."""
        partition = process_items.partition(process_id)
        known = {number: self._contents.get(_place(number, group)) for number, group in enumerate(groups)}
        missing = [number for number, contents in known.items() if contents is None]
        wanted = (forms.keys_of(partition, number, groups[number]) for number in missing)
        found = self._calls.get_many(chain.from_iterable(wanted)) if missing else {}
        for number in missing:
            contents = forms.load_group(partition, number, groups[number], found)
            if contents is None:
                return None
            known[number] = contents
            self._remember(number, groups[number], contents)
        return [contents for contents in known.values() if contents is not None]

    def _remember(self, number: int, group: Group, contents: Contents) -> None:
        self._contents.put(_place(number, group), contents, weight=forms.weight_of(contents))


def _place(number: int, group: Group) -> str:
    return f"{group.label}#{number}"
