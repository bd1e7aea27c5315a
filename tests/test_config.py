"""Settings: where they are found, what wins, and what is said about mistakes."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitrack import _settings_file, _settings_sections, config
from unitrack.config import RUN_VARIABLES, BackendSettings, Settings, is_secret, load_settings, redacted
from unitrack.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load(folder: Path, text: str, env: dict[str, str] | None = None, **overrides: object) -> Settings:
    (folder / "unitrack.toml").write_text(text)
    return load_settings(folder, env or {}, overrides)


def error_of(folder: Path, text: str, env: dict[str, str] | None = None, **overrides: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, env, **overrides)
    return caught.value


# -- finding ---------------------------------------------------------------------------------------


def test_without_a_file_everything_has_its_default(tmp_path):
    found = load_settings(tmp_path, {})
    assert found.mode == "online"
    assert found.project == tmp_path.name
    assert found.root == tmp_path
    assert found.file is None
    assert set(found.sources.values()) == {"default"}


def test_the_nearest_ancestor_with_a_file_wins(tmp_path):
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    (tmp_path / "unitrack.toml").write_text("project = 'outer'")
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.unitrack]\nproject = 'inner'")
    found = load_settings(inner, {})
    assert found.project == "inner"
    assert found.root == tmp_path / "a"
    assert found.sources["project"] == f"{tmp_path / 'a' / 'pyproject.toml'}:2"


@pytest.mark.parametrize("text", ["[project]\nname = 'x'", "not toml at all [", "[tool.other]\nunitrack = 1"])
def test_a_pyproject_that_does_not_configure_unitrack_is_passed_by(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    assert load_settings(tmp_path, {}).file is None


def test_settings_in_two_files_of_one_folder_are_refused_by_name(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.unitrack]\n")
    error = error_of(tmp_path, "")
    assert str(tmp_path / "unitrack.toml") in str(error)
    assert str(tmp_path / "pyproject.toml") in str(error)


def test_a_file_that_is_not_toml_is_refused_with_its_line(tmp_path):
    error = error_of(tmp_path, 'project = "x"\nmode =\n')
    assert error.line == 2
    assert "not TOML" in str(error)


def test_a_file_that_is_not_text_is_refused_by_name(tmp_path):
    (tmp_path / "unitrack.toml").write_bytes(b"project = '\xff'")
    with pytest.raises(ConfigError, match=r"unitrack\.toml: can't be read"):
        load_settings(tmp_path, {})


def test_a_byte_order_mark_is_no_error(tmp_path):
    (tmp_path / "unitrack.toml").write_bytes(b"\xef\xbb\xbfproject = 'x'")
    assert load_settings(tmp_path, {}).project == "x"


def test_without_a_file_no_toml_parser_is_imported(tmp_path):
    code = "import sys; from unitrack.config import load_settings; load_settings(sys.argv[1]); print('tomllib' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, tmp_path], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- precedence ------------------------------------------------------------------------------------

VALUES = {
    "project": st.sampled_from(["a", "b c", "päper"]),
    "mode": st.sampled_from(["online", "offline", "disabled"]),
    "durability": st.sampled_from(["background", "always", "finish"]),
    "strict": st.booleans(),
    "console": st.booleans(),
    "capture": st.lists(st.sampled_from(["git", "hardware", "x-y"]), max_size=3).map(tuple),
    "train.timeout": st.floats(min_value=0.5, max_value=1e6),
    "train.seeds": st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True).map(tuple),
}


def as_toml(value: object) -> str:
    return msgspec.json.encode(value).decode()


def as_variable(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def variable(key: str) -> str:
    return "UNITRACK_" + key.replace(".", "__").upper()


@st.composite
def layers(draw):
    one_layer = st.fixed_dictionaries({}, optional=VALUES)
    return draw(one_layer), draw(one_layer), draw(one_layer)


@settings(max_examples=60, deadline=None)
@given(layers())
def test_an_argument_wins_over_a_variable_and_that_over_the_file(given_layers):
    in_file, in_env, in_call = given_layers
    lines = ["train.command = ['x']", *(f"{key} = {as_toml(value)}" for key, value in in_file.items())]
    env = {variable(key): as_variable(value) for key, value in in_env.items()}
    with tempfile.TemporaryDirectory() as folder:
        found = load(Path(folder), "\n".join(lines), env, **in_call)
        for key in VALUES:
            holder = found.train if key.startswith("train.") else found
            value, source = getattr(holder, key.rpartition(".")[2]), found.sources[key]
            if key in in_call:
                assert (value, source) == (in_call[key], "argument")
            elif in_env.get(key, ()) != ():  # an empty list is an empty variable, which counts as unset
                assert (value, source) == (in_env[key], variable(key))
            elif key in in_file:
                line = 2 + list(in_file).index(key)
                assert (value, source) == (in_file[key], f"{Path(folder).resolve() / 'unitrack.toml'}:{line}")
            else:
                assert source == "default"


def test_an_argument_of_none_and_an_empty_variable_count_as_not_given(tmp_path):
    assert load(tmp_path, "mode = 'offline'", {"UNITRACK_MODE": ""}, mode=None).mode == "offline"


def test_arguments_may_be_nested(tmp_path):
    found = load(tmp_path, "[backends.m]\nuri = 'a'\nkeep = 1", backends={"m": {"uri": "b"}})
    assert found.backends["m"].options == {"uri": "b", "keep": 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [("0,1, 2", (0, 1, 2)), ("[0, 1]", (0, 1)), ("7", (7,))],
)
def test_a_list_in_a_variable_is_separated_by_commas_or_json(tmp_path, text, value):
    assert load(tmp_path, "train.command = ['x']", {"UNITRACK_TRAIN__SEEDS": text}).train.seeds == value


@pytest.mark.parametrize(("text", "value"), [("1", True), ("Yes", True), ("off", False), ("FALSE", False)])
def test_truth_in_a_variable_is_spelled_as_people_spell_it(tmp_path, text, value):
    assert load(tmp_path, "", {"UNITRACK_STRICT": text}).strict is value


def test_a_variable_may_hold_tables_as_json(tmp_path):
    rules = '[{"name": "loss", "goal": "minimize"}]'
    found = load(tmp_path, "", {"UNITRACK_GATE__METRICS": rules})
    assert found.gate.metrics[0].goal == "minimize"
    assert found.sources["gate.metrics"] == "UNITRACK_GATE__METRICS"


def test_variables_that_describe_one_run_or_the_tests_are_no_settings(tmp_path):
    env = {**dict.fromkeys(RUN_VARIABLES, "x"), "UNITRACK_TESTS_SLOW": "1", "OTHER": "y"}
    assert set(load_settings(tmp_path, env).sources.values()) == {"default"}


# -- backends --------------------------------------------------------------------------------------


def test_a_backend_is_named_by_its_section_and_hands_its_other_keys_over(tmp_path):
    found = load(tmp_path, "[backends.a]\nx = 1\n[backends.b]\ntype = 'a'\ny.z = [2]")
    assert found.backends == {
        "a": BackendSettings(type="a", options={"x": 1}),
        "b": BackendSettings(type="a", options={"y": {"z": [2]}}),
    }
    assert found.sources["backends.b.y.z"].endswith("unitrack.toml:5")


def test_a_section_without_keys_is_a_backend(tmp_path):
    assert load(tmp_path, "[backends.a]").backends == {"a": BackendSettings(type="a")}


def test_a_variable_reaches_a_backend_and_its_options_as_the_file_spells_them(tmp_path):
    env = {
        "UNITRACK_BACKENDS__MY_TRACKER__TRACKINGURI": "http://x",
        "UNITRACK_BACKENDS__MY_TRACKER__BATCH": "5",
        "UNITRACK_BACKENDS__OTHER__TYPE": "123",
    }
    found = load(tmp_path, "[backends.my-tracker]\ntrackingUri = 'a'", env)
    assert found.backends["my-tracker"].options == {"trackingUri": "http://x", "batch": 5}
    assert found.backends["other"].type == "123"


def test_an_interpreter_is_relative_to_the_file_unless_it_is_a_bare_name(tmp_path):
    found = load(tmp_path, "[backends.a]\npython = '.venv/bin/python'\n[backends.b]\npython = 'python3'")
    assert found.backends["a"].python == str(tmp_path / ".venv/bin/python")
    assert found.backends["b"].python == "python3"


@pytest.mark.parametrize(
    "text",
    [
        "[backends.m]\n\ntoken = 'a'",
        "[backends.m]\n\napi_key = 'a'",
        "[backends.m]\n\nclientSecret = 'a'",
        "[backends.m.auth]\n\npassword = 'a'",
        "[backends.m]\n\nuri = 'postgresql://me:pass@db/x'",
    ],
)
def test_a_credential_in_the_file_is_refused_with_its_line_and_the_way_out(tmp_path, text):
    error = error_of(tmp_path, text)
    assert error.line == 3
    assert "UNITRACK_BACKENDS__M__" in str(error)
    assert "environment" in str(error)
    assert "pass@db" not in str(error)


def test_a_credential_from_the_environment_is_taken(tmp_path):
    found = load(tmp_path, "[backends.m]", {"UNITRACK_BACKENDS__M__TOKEN": "abc"})
    assert found.backends["m"].options == {"token": "abc"}


@pytest.mark.parametrize("name", ["max_tokens", "token_file", "secretary", "keys", "tokenizer"])
def test_a_name_that_only_looks_like_a_credential_is_none(name):
    assert not is_secret(name)


def test_what_is_shown_hides_credentials_wherever_they_are():
    shown = redacted("options", {"a": {"api-key": "x"}, "uris": ["http://u:p@h/x"], "n": 1})
    assert shown == {"a": {"api-key": "***"}, "uris": ["http://u:***@h/x"], "n": 1}


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "line", "said"),
    [
        ("\nprojct = 'x'", "projct", 2, "projct is no setting - did you mean 'project'?"),
        ("[trian]\nx = 1", "trian", 1, "did you mean 'train'?"),
        ("[train]\ncommand = ['a']\nsed = 1", "train.sed", 3, "did you mean 'seeds'?"),
        ("zzz = 1", "zzz", 1, "there are audit, backends, capture"),
        ("mode = 'onlin'", "mode", 1, "one of 'online', 'offline', 'disabled', not 'onlin' - did you mean 'online'?"),
        ("strict = 'yes'", "strict", 1, "must be true or false, not 'yes'"),
        ("project = 3", "project", 1, "must be text that is not empty, not 3"),
        ("train = 5", "train", 1, "must be a table, not 5"),
        ("[train]\ncommand = ['a']\ntimeout = -1", "train.timeout", 3, "a number above 0, not -1"),
        ("[train]\ncommand = 'a b'", "train.command", 2, "must be a list that is not empty, each text"),
        ("[train]\ntimeout = 1", "train", 1, "needs the key 'command'"),
        ("[train]\ncommand = ['a']\nseeds = [1, 1]", "train.seeds", 3, "must not hold a seed twice"),
        ("gate.seeds = 0", "gate.seeds", 1, "a whole number of at least 1, not 0"),
        ("[[gate.metrics]]\nname = 'a'", "gate.metrics[0]", 1, "needs the key 'goal': one of 'maximize', 'minimize'"),
        ("backends = 5", "backends", 1, "must be a table of sections"),
        ("[backends]\nm = 5", "backends.m", 2, "must be a section [backends.m]"),
        ("[backends.m]\npython = 5", "backends.m.python", 2, "must be text"),
        ("dir = ''", "dir", 1, "must be a path"),
    ],
)
def test_a_mistake_is_told_with_file_line_key_and_what_is_right(tmp_path, text, key, line, said):
    error = error_of(tmp_path, text)
    assert (error.key, error.line, error.file) == (key, line, str(tmp_path / "unitrack.toml"))
    assert said in str(error)
    assert str(error).startswith(f"{tmp_path / 'unitrack.toml'}:{line}: ")


def test_a_mistake_in_the_second_of_several_rules_is_told_with_its_own_line(tmp_path):
    rule = "[[gate.metrics]]\nname = '{}'\ngoal = '{}'\n"
    error = error_of(tmp_path, rule.format("a", "maximize") + rule.format("b", "up"))
    assert (error.key, error.line) == ("gate.metrics[1].goal", 6)
    error = error_of(tmp_path, rule.format("a", "maximize") * 2)
    assert (error.key, error.line) == ("gate.metrics[1].name", 5)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("UNITRACK_MODEE", "x", "UNITRACK_MODEE means nothing to unitrack - did you mean 'UNITRACK_MODE'?"),
        ("UNITRACK_RUNID", "x", "did you mean 'UNITRACK_RUN_ID'?"),
        ("UNITRACK_BACKENDS__M", "x", "UNITRACK_BACKENDS__M means nothing"),
        ("UNITRACK_BACKENDS__M__", "x", "means nothing"),
        ("UNITRACK_MODE", "x", "UNITRACK_MODE must be one of 'online'"),
        ("UNITRACK_STRICT", "maybe", "UNITRACK_STRICT must be true or false, not 'maybe'"),
        ("UNITRACK_TRAIN__TIMEOUT", "x", "UNITRACK_TRAIN__TIMEOUT must be a number above 0, not 'x'"),
        ("UNITRACK_TRAIN__TIMEOUT", "5", "needs the key 'command'"),
        ("UNITRACK_TRAIN", "{", "UNITRACK_TRAIN must be a table, not '{'"),
    ],
)
def test_a_mistake_in_a_variable_is_told_by_the_variables_name(tmp_path, name, value, said):
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, {name: value})
    assert said in str(caught.value)
    assert caught.value.file is None


def test_a_mistake_in_an_argument_is_told_by_its_key(tmp_path):
    with pytest.raises(ConfigError, match="mod is no setting - did you mean 'mode'"):
        load_settings(tmp_path, {}, {"mod": 1})


# -- the store -------------------------------------------------------------------------------------


def test_the_store_is_beside_the_settings_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "unitrack.toml").write_text("")
    assert load_settings(tmp_path / "sub", {}).store == tmp_path / ".unitrack"


def test_without_a_file_the_store_is_the_nearest_there_is_or_would_be_here(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert load_settings(inner, {}).store == inner / ".unitrack"
    (tmp_path / ".unitrack").mkdir()
    assert load_settings(inner, {}).store == tmp_path / ".unitrack"


def test_a_relative_dir_is_taken_from_where_it_is_said(tmp_path):
    here = tmp_path / "sub"
    here.mkdir()
    (tmp_path / "unitrack.toml").write_text("dir = 'st'")
    assert load_settings(here, {}).store == tmp_path / "st"
    assert load_settings(here, {"UNITRACK_DIR": "../e"}).store == tmp_path / "e"
    assert load_settings(here, {}, {"dir": Path("x")}).store == here / "x"
    assert load_settings(here, {}, {"dir": "~/x"}).store == Path("~/x").expanduser()


# -- the line of a key -----------------------------------------------------------------------------

TEXT = '''\
a = 1  # [not.a.table]
"b c".d = """
e = 2
[no]
"""
f = [
  "g = 1", # ]
  { h = 1 },
]
[x]
i = {
  j = 1 }
[x . 'y z']
k = """one line"""
[[x.list]]
l = 1
[[x.list]]
l = 2
[x.list.inner]
m = 'a # b'
'''


def test_the_line_of_a_key_is_found_in_all_common_forms():
    tomllib.loads(TEXT.replace("{\n  j = 1 }", "{ j = 1 }"))  # the example itself is TOML
    lines = _settings_file.key_lines(TEXT)
    assert lines == {
        ("a",): 1, ("b c",): 2, ("b c", "d"): 2, ("f",): 6, ("x",): 10, ("x", "i"): 11, ("x", "y z"): 13,
        ("x", "y z", "k"): 14, ("x", "list"): 15, ("x", "list", 0): 15, ("x", "list", 0, "l"): 16,
        ("x", "list", 1): 17, ("x", "list", 1, "l"): 18, ("x", "list", 1, "inner"): 19,
        ("x", "list", 1, "inner", "m"): 20,
    }  # fmt: skip


SNIPPETS = st.sampled_from(
    ["1", "'x = [1'", '"# no"', "[1, 2]", "[\n  '[a]',\n  3, # ]\n]", '"""\nq = 1\n[t]\n"""', "{ a = 1 }"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SNIPPETS, st.booleans(), st.sampled_from(["", "\n", "# [c]\n"])), max_size=8))
def test_the_line_of_every_key_is_right_whatever_stands_before_it(entries):
    text, table, expected = "", (), {}
    for number, (value, opens_table, gap) in enumerate(entries):
        text += gap
        if opens_table:
            table = (f"t{number}",)
            text += f"[t{number}]\n"
        expected[(*table, f"k{number}")] = text.count("\n") + 1
        text += f"k{number} = {value}\n"
    tomllib.loads(text)
    found = _settings_file.key_lines(text)
    assert {key: found[key] for key in expected} == expected
    assert {key[-1] for key in found} == {part for key in expected for part in key}


# -- documentation ---------------------------------------------------------------------------------


def struct_fields() -> list[tuple[str, str, bool]]:
    trees = [ast.parse(inspect.getsource(module)) for module in (config, _settings_sections)]
    found = []
    for struct in (node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)):
        for node, after in zip(struct.body, [*struct.body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign):
                told = isinstance(after, ast.Expr) and isinstance(getattr(after.value, "value", None), str)
                found.append((struct.name, node.target.id, told))
    return found


def test_every_key_is_documented():
    assert [f"{struct}.{name}" for struct, name, told in struct_fields() if not told] == []
    assert len(struct_fields()) > 25


def test_settings_cannot_be_changed(tmp_path):
    with pytest.raises(AttributeError):
        load_settings(tmp_path, {}).mode = "offline"
