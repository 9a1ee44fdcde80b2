"""The fault catalogue: what can go wrong, and what must hold nevertheless. A row's id names it for ever.

Tests say which rows they prove, wherever they live: ``@pytest.mark.fault("W3", "C2")``. ``pytest --fault W3`` runs
those of one row, and ``make faults`` all of them, and writes down how they went; `docs/explanation/faults.md` is made
from both.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    fault: str
    holds: str
    #: Why no test breaks this on purpose, for a row that has none.
    not_run: str = ""


WORKERS = {
    "W1": Row("A pool child is killed with `kill -9`", "sent again within `retries_permitted`; no attempt runs twice"),
    "W2": Row("The same, with `task_reject_on_worker_lost`", "the redelivery counts once, and it has an end"),
    "W3": Row("A whole worker is killed, acknowledging early or late", "its lease ends, and the step is sent again"),
    "W4": Row("A worker dies between taking a message and noting that it has it", "the step is sent again"),
    "W5": Row("Every run is killed for lack of memory", "at most 1 + `retries_permitted` runs, then the step fails"),
    "W6": Row("A child or a worker freezes beyond its clock, and wakes up", "another run takes over; one completion"),
    "W7": Row("A soft time limit is raised, or swallowed until the hard one", "one failure, or one new attempt"),
    "W8": Row("A body never ends, and has no time limit", "the step's own clock runs out, and it is sent again"),
    "W9": Row("A body calls `sys.exit` or `os._exit`, or the interpreter crashes", "the step is not completed by that"),
    "W10": Row("A body is late: garbage collection, a busy machine", "its completion still counts, once"),
    "W11": Row("A worker's clock is an hour off", "deadlines do not move: the store's clock counts"),
    "W12": Row("A worker is told to stop: warm, soft or cold", "the step completes or is sent again; it never fails"),
    "W13": Row("Children are replaced after each task, pools grow and shrink", "no step is lost or run twice"),
    "W14": Row("Pools of threads, gevent, eventlet, or none", "the same as prefork; no task sees another's step"),
    "W15": Row(
        "A worker lives and consumes nothing any more",
        "others do what it had taken; without any, `trellis doctor` tells",
    ),
    "W16": Row(
        "A hook of the app raises, or a link cannot be sent",
        "the step is what its body came to; without its link it fails, and says why",
    ),
}

BROKER = {
    "B1": Row("The broker is killed, with or without a file of its own", "steps it forgot are sent again"),
    "B2": Row("A queue is purged, or the whole broker emptied", "what it forgot is sent again, at no cost in retries"),
    "B3": Row("Redis has no memory left for a message or a write", "the sender is told; steps go out later"),
    "B4": Row("Redis evicts keys", "`trellis doctor` calls the policy a problem"),
    "B5": Row("A former master answers READONLY", "the write is made again in the same call, on the new one"),
    "B6": Row(
        "The master is killed or frozen, Sentinel promotes another",
        "nothing that its replica has got, and nothing that the new master takes, is lost; Redis acknowledges a write "
        "a moment before that, and a master that thaws goes on so until it is demoted, unless "
        "`min-replicas-to-write` forbids it",
    ),
    "B7": Row(
        "A partition leaves some clients with the old master",
        "with `min-replicas-to-write`, which `trellis doctor` asks for, it refuses writes after the lag and a second; "
        "only what it took until then is lost",
    ),
    "B8": Row(
        "A master of a Cluster is killed, a slot moves",
        "nothing that its replica has got or that the new master takes is lost; moving a slot loses nothing",
    ),
    "B9": Row("A worker and the broker do not hear each other for a while", "no second run, and no second completion"),
    "B10": Row("Everything takes half a second longer", "no step is taken for lost, with leases of 6 s or more"),
    "B11": Row("A call's reply is lost, for every call that trellis makes", "the same as if it had not been"),
    "B12": Row("A connection is open and nobody answers", "an error within `trellis_store_timeout_ms`"),
    "B13": Row("Celery publishes a message twice, because a reply was lost", "one copy runs"),
    "B14": Row("RabbitMQ is killed while messages are published", "every step that was sent is done, once"),
    "B15": Row("RabbitMQ drops connections, loses a queue, or takes nothing", "the check goes on; nothing is lost"),
    "B16": Row("RabbitMQ's `consumer_timeout` gives a message to another", "the copy does not run, the step completes"),
    "B17": Row("Redis's visibility timeout gives a message to another", "the copy does not run, one completion"),
    "B18": Row("A message arrives after its step has ended", "its body does not run"),
    "B19": Row("Celery brings back unacknowledged messages later than it says", "no later than `trellis doctor` says"),
}

STORE = {
    "S1": Row("The store is down when a task is sent", "an error if `trellis_strict`, else the task goes out, counted"),
    "S2": Row("The store is down when a task starts or ends", "the task is not failed, its outcome is written later"),
    "S3": Row("The store comes back empty", "tasks under way are not failed by that; it is logged and counted"),
    "S4": Row("The power fails", "what the file had not got is forgotten as a whole: nothing is torn"),
    "S5": Row("The disk is full", "writes are refused as a whole, reads are answered"),
    "S6": Row("Scripts are flushed, the server is replaced by another release", "scripts are loaded again"),
    "S7": Row(
        "A user may not do one of the commands",
        "nothing is half written (Valkey, Redis 7 and later), and `trellis doctor` names it",
    ),
    "S8": Row("A key is of the wrong type, a record cannot be read", "an error for that step alone; the others go on"),
    "S9": Row(
        "The store's clock jumps an hour",
        "forward: what runs is taken for late, sent once more, and completes once; back: lost workers are noticed as "
        "before, deadlines are late by the jump at the most; it is logged, and `trellis doctor` tells",
    ),
    "S10": Row("The store stands still for seconds", "calls end in time and count once; no worker is lost"),
}

CHECKER = {
    "C1": Row("Two beats, any number of checks at once", "each attempt is sent once"),
    "C2": Row("Beat is dead", "workers check in its place; `doctor` and Flower tell"),
    "C3": Row("A check is killed before or after any command", "nothing is lost, nothing counts twice"),
    "C4": Row("A check takes longer than its interval", "checks overlap without harm, and each has an end"),
    "C5": Row("A check dies between claim, message and confirmation", "the same attempt is sent again"),
    "C6": Row("A step cannot be sent: unreadable, unknown, refused", "the others are; it fails and says why"),
    "C7": Row("The check's own message waits behind a full queue", "workers check in their own threads"),
    "C8": Row("Two releases check the same store", "each understands the other, or leaves what it cannot read alone"),
    "C9": Row("Beat keeps its schedule in Redis or in Django", "the check runs all the same"),
    "C10": Row("The check or beat has a clock that is an hour off", "deadlines do not move: the store's clock counts"),
}

APPLICATION = {
    "A1": Row("A message is there several times", "one copy runs, and the others are told as duplicates"),
    "A2": Row("A replaced attempt completes, before or after its successor", "the first completion wins"),
    "A3": Row("A completion arrives before its start was written", "it counts, and durations make sense"),
    "A4": Row("An attempt is sent again while the first one still runs", "one outcome; `is_current()` tells the body"),
    "A5": Row("A process is cancelled or deleted while a step runs", "nothing comes back to life"),
    "A6": Row("A step, process or task that nobody knows", "an error where it enters, an event, the others go on"),
    "A7": Row("Programs of two releases, one with a step more", "both work, and what only one knows is kept"),
    "A8": Row("Arguments of megabytes, processes of thousands of steps", "limits that are told, no slow script"),
    "A9": Row("Any serializer, compression, binary arguments", "the message that is sent again is the very same"),
    "A10": Row("Names that are empty, long, or in any script there is", "kept as they are, or refused at the start"),
    "A11": Row("Timeouts that are negative, endless, or no numbers", "refused where they are declared"),
    "A12": Row("One process is started by many at once", "one process; the others are told which"),
    "A13": Row("A member of a chain, group or chord is lost", "it comes back with callbacks, group and place"),
    "A14": Row("`self.retry`, `autoretry_for`, `Ignore`, `Reject`, `replace`", "each counts as what it is, once"),
    "A15": Row("A task is revoked, running or not", "the step is cancelled and not sent again"),
    "A16": Row("Eager tasks, `apply()`, a direct call", "tracked, or plainly a function call"),
    "A17": Row("A transaction of the app is rolled back", "what waited for its commit is not registered"),
    "A18": Row(
        "A program forks after it was connected, or while a thread is inside kombu",
        "the child has a connection of its own, and waits for no lock that only its parent could give back",
    ),
    "A19": Row("The archive is down, slow, or of an old schema", "work goes on, what waits is archived later"),
    "A20": Row("History grows", "retention removes every key, a bounded number at a time"),
    "A21": Row("The result backend is down", "steps start and complete as before"),
    "A22": Row("A task is sent whose step is finished, unbeknown to its sender", "its body does not run"),
}

SECURITY = {
    "X1": Row("Ids of Lua, glob characters, separators, control characters", "data like any other"),
    "X2": Row(
        "Ids that somebody guessed, names that run together",
        "nobody finds or changes a process by a guess; no tenant hears another's",
    ),
    "X3": Row("HTML in a name, an error, an argument", "shown as text; a policy that runs no script of others"),
    "X4": Row("Requests to Flower without a login, or from another site", "refused as Flower refuses its own"),
    "X5": Row("Secrets in arguments", "in the message alone, and gone when the step is done or cancelled"),
    "X6": Row("Headers that somebody with access to the broker forged", "with a key no step changes by them"),
    "X7": Row("Pickled data", "nothing is unpickled: neither state nor messages that are sent again"),
    "X8": Row("Redis with TLS and a user of few rights", "works, with the rights that are documented"),
    "X9": Row("Line breaks and control characters in texts", "one line in logs and shell; terminals obey nothing"),
    "X10": Row("Millions of steps, billions of retries, deep JSON", "limits that are told"),
    "X11": Row("Ids that look like paths", "no file is named after what comes from outside"),
    "X12": Row(
        "Secrets and stray files beside the code",
        "not in the package, and it needs three libraries alone; for their known holes there is `make audit`",
    ),
    "X13": Row("SQL in filters", "values are bound, columns are a fixed list"),
}

FAMILIES = {
    "Workers": WORKERS,
    "Broker": BROKER,
    "Store": STORE,
    "Checker": CHECKER,
    "Application": APPLICATION,
    "Security": SECURITY,
}
CATALOGUE = {fault_id: row for family in FAMILIES.values() for fault_id, row in family.items()}
