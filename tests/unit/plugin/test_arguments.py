from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from celery import Celery

from trellis_celery import ProcessType, Step, Trellis, errors, process_step
from trellis_celery.plugin import message
from trellis_celery.plugin.arguments import MAX_BODY, MAX_LENGTH, arguments_of
from trellis_celery.stores.memory import MemoryStore


class Letter(ProcessType):
    write = Step()
    send = Step()


class Post:
    """An app with one process, and whatever messages a test puts into its store."""

    def __init__(self, *, is_allowed: bool) -> None:
        self.app = Celery("post", set_as_current=False, broker="memory://")
        self.app.conf.trellis_show_args = is_allowed
        self.messages: dict[str, bytes] = {}
        self.store = StoreWith(self.messages)
        self.trellis = Trellis(self.app, store=self.store)
        self.process = self.trellis.start_process(Letter, tenant_id="t", aggregate_type="Letter", aggregate_id="1")

    def shown(self, stored: message.Message | bytes | None = None) -> dict[str, str]:
        if stored is not None:
            self.messages["write"] = stored if isinstance(stored, bytes) else stored.dump()
        return dict(arguments_of(self.trellis, self.process.id, ["write", "send"]))


class StoreWith(MemoryStore):
    """A `MemoryStore` that has these messages besides its own."""

    def __init__(self, messages: dict[str, bytes]) -> None:
        super().__init__()
        self._given = messages

    def load_messages(self, keys: Any) -> list[bytes | None]:
        own = super().load_messages(keys)
        return [self._given.get(key.step_name, stored) for key, stored in zip(keys, own, strict=True)]


@pytest.fixture
def post() -> Post:
    return Post(is_allowed=True)


def a_message(body: bytes, *, content_type: str = "application/json", **headers: Any) -> message.Message:
    return message.Message(message.FORMAT, "", "celery", content_type, "utf-8", body, json.dumps(headers), "{}")


def of_call(*args: Any, **kwargs: Any) -> message.Message:
    """As another program may have sent it, without Celery's own words for the arguments."""
    return a_message(json.dumps([args, kwargs, {}]).encode())


def write(address: str, *, urgent: bool = False) -> None:
    """It is only sent."""


def send_letter(post: Post, *args: Any, serializer: str = "json", **options: Any) -> None:
    task = process_step(Letter.write)(post.app.task(name="write", shared=False)(write))
    with post.process:
        task.apply_async(args, {"urgent": True}, serializer=serializer, **options)


def test_nothing_is_shown_unless_it_is_allowed() -> None:
    post = Post(is_allowed=False)
    send_letter(post, "Main Street 1")

    assert post.shown() == {}


def test_a_call_is_shown_as_celery_tells_of_it(post: Post) -> None:
    send_letter(post, "Main Street 1")

    assert post.shown() == {"write": "('Main Street 1',) {'urgent': True}"}


def test_what_the_team_hides_from_celery_is_hidden_here(post: Post) -> None:
    send_letter(post, "Main Street 1", argsrepr="(<address>)", kwargsrepr="{}")

    assert post.shown() == {"write": "(<address>)"}


@pytest.mark.parametrize("serializer", ["pickle", "yaml"])
def test_celerys_words_are_shown_whatever_the_message_is_made_with(post: Post, serializer: str) -> None:
    send_letter(post, "Main Street 1", serializer=serializer)

    assert post.shown() == {"write": "('Main Street 1',) {'urgent': True}"}


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (of_call("Straße", 3, None, urgent=True), '["Straße", 3, null] {"urgent": true}'),
        (of_call("x"), '["x"]'),
        (of_call(a=1), '{"a": 1}'),
        (of_call(), "()"),
        (a_message(b'{"args": [1], "kwargs": {}, "id": "7"}'), "[1]"),
    ],
)
def test_a_message_without_celerys_words_is_opened_if_it_is_json(
    post: Post, stored: message.Message, text: str
) -> None:
    assert post.shown(stored) == {"write": text}


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (b"no message of ours", "the message is damaged"),
        (a_message(b"\x80", content_type="application/x-yaml"), "it is application/x-yaml"),
        (a_message(b"\x78\x9c", compression="application/x-gzip"), "it is compressed, application/x-gzip"),
        (a_message(b"[" * 100_000), "the message is not the JSON of a task"),
        (a_message(b"9" * 10_000), "the message is not the JSON of a task"),
        (a_message(b"\xff\xfe"), "the message is not the JSON of a task"),
        (a_message(b'{"no": "task"}'), "the message is not the JSON of a task"),
        (a_message(b" " * (MAX_BODY + 1)), f"it has {MAX_BODY + 1} bytes"),
    ],
)
def test_why_a_message_cannot_be_shown_is_told(post: Post, stored: message.Message | bytes, why: str) -> None:
    assert post.shown(stored) == {"write": f"(not shown: {why})"}


class Bomb:
    """Whoever unpickles one has lost."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.fault("X7")
@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "application/json"])
def test_nothing_is_ever_unpickled(post: Post, content_type: str) -> None:
    stored = a_message(pickle.dumps(((Bomb(),), {}, {})), content_type=content_type)

    assert post.shown(stored)["write"].startswith("(not shown: ")


def test_a_typed_value_is_shown_as_text_and_not_made(post: Post) -> None:
    stored = of_call({"__type__": "uuid", "__value__": {"hex": "no uuid"}})

    assert post.shown(stored) == {"write": '[{"__type__": "uuid", "__value__": {"hex": "no uuid"}}]'}


def test_what_is_too_long_is_cut(post: Post) -> None:
    shown = post.shown(of_call("x" * 100_000))["write"]

    assert len(shown) == MAX_LENGTH + 1
    assert shown.endswith("x…")


def test_a_store_that_does_not_answer_says_so(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(keys: object) -> None:
        raise errors.StoreUnavailable("the store does not answer")

    monkeypatch.setattr(post.store, "load_messages", unavailable)

    with pytest.raises(errors.StoreUnavailable):
        post.shown()
