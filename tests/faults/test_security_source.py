"""What the source never does, whatever comes from outside: each exception is listed here, and why it is none."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster import ROOT

PACKAGE = ROOT / "trellis_celery"
LUA = PACKAGE / "stores/redis/lua"
MODULES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}

Found = set[tuple[str, str]]


def name_of(function: ast.expr) -> str:
    """The last name of what is called."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function or method of such a name, with the module that it is in."""
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and name_of(node.func) in names:
                yield module, node


def imported() -> Iterator[tuple[str, str]]:
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((module, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((module, f"{node.module}.{alias.name}") for alias in node.names)


def not_constant(*names: str, argument: Callable[[ast.Call], ast.expr | None]) -> Found:
    """Where such a function is given something that is not written down there."""
    given = ((module, argument(call)) for module, call in calls(*names))
    return {
        (module, ast.unparse(value))
        for module, value in given
        if value is not None and not isinstance(value, ast.Constant)
    }


def first(call: ast.Call) -> ast.expr | None:
    return call.args[0] if call.args else None


def keyword(name: str) -> Callable[[ast.Call], ast.expr | None]:
    return lambda call: next((one.value for one in call.keywords if one.arg == name), None)


# Lua


#: Scripts of a store, by the module that loads them.
SCRIPTS = {
    "stores/redis/store.py": {"commit", "create", "move", "delete", "relayed"},
    "stores/redis/trackers.py": {"tracker", "copied", "untrack"},
}
#: Scripts of the doctor: a constant, and the files above once more.
_OF_DOCTOR = {
    ("doctor/asking/redis_rights.py", "_ASK"),
    ("doctor/asking/redis_rights.py", "script.read_text(encoding='utf-8')"),
}
#: A cluster's client hands on what a store has registered with it.
_OF_CLUSTER = {("stores/redis/late_cluster.py", "self._text")}


@pytest.mark.fault("X1")
def test_x1_every_script_is_a_file_of_the_package_as_it_is() -> None:
    scripts = not_constant("register_script", "eval", "evalsha", "script_load", argument=first)

    of_stores = {(module, f"_script('{name}.lua')") for module, names in SCRIPTS.items() for name in names}
    assert scripts == of_stores | _OF_DOCTOR | _OF_CLUSTER
    for module in SCRIPTS:
        (script,) = (each for each in ast.walk(MODULES[module]) if getattr(each, "name", "") == "_script")
        assert isinstance(script, ast.FunctionDef)
        assert ast.unparse(script.body[-1]).endswith("joinpath('lua', name).read_text(encoding='utf-8')")
    assert {path.stem for path in LUA.iterdir()} == set().union(*SCRIPTS.values())


@pytest.mark.fault("X1")
@pytest.mark.parametrize("script", sorted(LUA.iterdir()), ids=lambda path: path.name)
def test_x1_no_script_makes_code_of_what_it_is_given(script: Path) -> None:
    code = "\n".join(line.partition("--")[0] for line in script.read_text(encoding="utf-8").splitlines())

    assert not [word for word in ("loadstring", "load(", "dofile", "setfenv", "require") if word in code]


# SQL

#: SQL that is not written down where it is used.
_SQL = {
    # Whole numbers, formatted as such, and the name of a table of ours.
    (
        "stores/sqlalchemy/totals.py",
        "f'DELETE total FROM ({listed}) AS listed"
        " STRAIGHT_JOIN {TotalRow.__tablename__} AS total ON total.id = listed.id'",
    ),
    # BEGIN, or what a caller of ours says.
    ("stores/sqlalchemy/sqlite.py", "how"),
    # Names of settings of the server, from a list in the module; and a constant.
    ("doctor/asking/sql.py", "_QUESTIONS[dialect].format(name)"),
    ("doctor/asking/sql.py", "_ENGINES"),
}


@pytest.mark.fault("X13")
def test_x13_sql_that_is_written_as_text_holds_nothing_from_outside() -> None:
    names = ("text", "exec_driver_sql", "literal_column", "literal", "DDL", "TextClause")
    found = not_constant(*names, argument=first)

    assert {each for each in found if each[0].startswith(("stores/sqlalchemy", "doctor"))} == _SQL
    assert not_constant("begin_in_sqlite", argument=keyword("how")) == set()
    totals = ast.unparse(MODULES["stores/sqlalchemy/totals.py"])
    assert "listed = ' UNION ALL '.join((f'SELECT {id_:d} AS id' for id_ in ids))" in totals


#: What lists are put in order by: models, and names in the module for columns of theirs or of a query over them.
_ORDERED_BY = {"ProcessRow", "StepRow", "LogRow", "TotalRow", "ArchivedEventRow", "ArchivedStepRow"}
_ORDERED_BY |= {"table", "merged", "counted", "*in_order", "*group", "*_GROUP"}


@pytest.mark.fault("X13")
def test_x13_lists_are_put_in_order_by_columns_of_ours() -> None:
    columns = {ast.unparse(argument) for _, call in calls("order_by", "group_by") for argument in call.args}

    assert {column.partition(".")[0] for column in columns} == _ORDERED_BY


# Code made of data


_UNSAFE = ("pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle", "yaml", "subprocess")


@pytest.mark.fault("X7")
def test_x7_no_module_unpickles_what_it_reads() -> None:
    found = {(module, name) for module, name in imported() if name.split(".")[0] in _UNSAFE or "pickle" in name}

    # In the tests of whoever writes a store; it tells by what was pickled whether a store is open already.
    assert found == {("testing/contract/rival.py", "pickle")}
    pickled = {ast.unparse(call.func) for module, call in calls("dump", "dumps", "load", "loads") if "rival" in module}
    assert pickled == {"pickle.dumps"}


@pytest.mark.fault("X7")
def test_x7_no_module_runs_what_it_reads() -> None:
    found = {
        (module, ast.unparse(call.func)) for module, call in calls("eval", "exec", "__import__", "system", "popen")
    }

    assert found == set()
    modules = not_constant("import_module", argument=first)
    assert modules == {
        ("bootstrap.py", "f'trellis_celery.stores.{kind}.backend'"),  # one of a fixed list of kinds
        ("doctor/asking/stores.py", "f'trellis_celery.doctor.asking.{_MODULES[kind]}'"),  # likewise
    }


# Headers

#: Where a header is read that nobody has checked: it comes from the store; it is checked at once; it was; it is logged.
_UNCHECKED = {
    ("plugin/requeue.py", "message_headers"),
    ("plugin/publishing.py", "custom_headers"),
    ("plugin/signals.py", "request.request_dict"),
}


@pytest.mark.fault("X6")
def test_x6_no_header_of_a_message_is_read_unchecked() -> None:
    read = {
        (module, ast.unparse(call.args[0]))
        for module, call in calls("read", "from_wire", "process_of", "may_claim")
        if module.startswith("plugin/") and module != "plugin/headers.py"
    }

    assert read == _UNCHECKED
    signals = [node for node in ast.walk(MODULES["plugin/signals.py"]) if isinstance(node, ast.FunctionDef)]
    readers = {each.name for each in signals if "headers.read(" in ast.unparse(each)}
    assert readers == {"_resolve_claim", "_leave_untracked"}


# Files

#: Everything that opens a file or names one: those of this package and of Flower, by names in the code.
_FILES = {
    ("cli/group.py", "os.open(os.devnull, os.O_WRONLY)"),
    ("stores/redis/store.py", "files('trellis_celery.stores.redis').joinpath('lua', name).read_text(encoding='utf-8')"),
    (
        "stores/redis/trackers.py",
        "files('trellis_celery.stores.redis').joinpath('lua', name).read_text(encoding='utf-8')",
    ),
    ("doctor/asking/redis_rights.py", "script.read_text(encoding='utf-8')"),
    ("flower/assets.py", "(_DIRECTORY / name).read_bytes()"),
    ("flower/assets.py", "Path(__file__)"),
    ("flower/page.py", "Path(self.settings['static_path'])"),
    ("flower/templates.py", "(Path(self.root) / name).read_text(encoding='utf-8')"),
    ("flower/templates.py", "(_DIRECTORY / name.removeprefix(OURS)).read_text(encoding='utf-8')"),
    ("flower/templates.py", "Path(self.root)"),
    ("flower/templates.py", "Path(__file__)"),
}
_OPENING = ("open", "Path", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "makedirs", "unlink")
_MAKING = ("rename", "rmtree", "NamedTemporaryFile", "TemporaryDirectory", "mkstemp", "mkdtemp")


@pytest.mark.fault("X11")
def test_x11_no_file_is_named_after_what_comes_from_outside() -> None:
    assert {(module, ast.unparse(call)) for module, call in calls(*_OPENING, *_MAKING)} == _FILES
