"""The rules of the project itself: layers, sizes, words, formats, what is pinned and what is shipped."""

import ast
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import pytest

from unitrack import schemas

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = sorted([*ROOT.glob("unitrack/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")])
CONSTRAINTS = sorted(ROOT.glob("constraints/*.txt"))
LONGEST_FILE, LONGEST_FUNCTION = 500, 60  # lines

# Each has one letter in brackets so that this file doesn't match itself.
FORBIDDEN_WORDS = re.compile(
    r"\bTOD[O]\b|\bFIXM[E]\b|/wor[k]/|/far[m]/|index-ur[l]|pypi\.or[g]|pythonhosted\.or[g]"
    r"|registry\.npmj[s]|https?://[^ ]*/simpl[e]/|deb\.debian\.or[g]"
)
# What `import unitrack` must not pay for.
HEAVY = {
    "PIL", "click", "duckdb", "jsonschema", "matplotlib", "mlflow", "neptune", "numpy", "pandas", "polars",
    "pyarrow", "requests", "rich", "scipy", "sqlite3", "tensorboard", "torch", "wandb",
}  # fmt: skip
# Each adds a millisecond or more, and is imported by what needs it: the beginning of a run, a hash, a picture, reading.
LATE = {
    "bz2", "dataclasses", "difflib", "hashlib", "importlib.metadata", "pluggy", "shutil", "signal", "subprocess", "tempfile",
    "unitrack.capture", "unitrack.config", "unitrack.hookspecs", "unitrack.media.images", "unitrack.media.sound",
    "unitrack.plugins", "unitrack.reader", "wave", "zlib",
}  # fmt: skip
# What a plugin may import from us; a name with an underscore is ours alone wherever it is.
PUBLIC = {
    "backend", "config", "errors", "events", "files", "foreign", "gate", "hookspecs", "journal", "lowering", "model", "objects",
    "reader", "registry", "rerun", "schemas", "session", "testing",
}  # fmt: skip


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)


def tracked_files():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_higher_layers_import_lower_ones_only():
    done = run("-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())")
    assert done.returncode == 0, done.stdout + done.stderr


def test_plugins_import_public_modules_only():
    private = []
    for path in ROOT.glob("plugins/*/src/**/*.py"):
        for module, name in _imports(ast.parse(path.read_text())):
            parts = [*module.split("."), *([name] if name else [])]
            if parts[0] != "unitrack":
                continue
            hidden = module != "unitrack" and parts[1] not in PUBLIC
            if hidden or any(part.startswith("_") for part in parts[1:]):
                private.append(f"{path.relative_to(ROOT)}: {module} {name}")
    assert private == []


def _imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def test_no_tracked_file_names_a_package_index_a_private_path_or_unfinished_work():
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in FORBIDDEN_WORDS.finditer(text)]
    assert found == []


def test_no_file_is_too_long_to_read():
    files = [path for path in tracked_files() if path.suffix == ".py"]
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: size for name, size in sizes.items() if size > LONGEST_FILE} == {}


def test_no_function_is_too_long_to_read():
    long = {}
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                size = (node.end_lineno or 0) - node.lineno + 1
                if size > LONGEST_FUNCTION:
                    long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = size
    assert long == {}


def test_the_facade_is_a_table_of_contents():
    text = (ROOT / "unitrack/__init__.py").read_text()
    exported = next(
        ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert exported == sorted(exported)
    assert len(text.splitlines()) <= 70


def test_importing_unitrack_imports_no_client_and_nothing_heavy():
    # What sites load as each Python starts, and msgspec, is no choice of ours.
    code = f"import sys, msgspec; before = set(sys.modules); import unitrack; print(sorted({HEAVY | LATE!r} & set(sys.modules) - before))"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", schemas.GENERATED)
def test_schemas_are_what_the_types_say(name):
    committed = (ROOT / "schemas" / f"{name}.schema.json").read_bytes()
    assert committed == schemas.generate(name), "run `make schemas` and commit the difference"


@pytest.mark.parametrize("path", sorted(ROOT.glob("schemas/*.json")), ids=lambda path: path.name)
def test_schemas_are_valid_named_and_loadable(path):
    schema = schemas.load(path.name.removesuffix(".schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema == json.loads(path.read_text())
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["title"]


def test_a_schema_that_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError):
        schemas.load("no-such-thing")


def test_the_event_schema_takes_unknown_fields_and_refuses_what_is_no_event():
    validator = jsonschema.Draft202012Validator(schemas.load("event"))
    event = {"type": "metrics", "seq": 1, "time": 1.5, "values": {"loss": 0.5, "grad": "NaN"}, "step": 1}
    assert validator.is_valid(event)
    assert validator.is_valid({**event, "from_the_future": {"a": 1}})
    assert not validator.is_valid({**event, "type": "mertics"})
    assert not validator.is_valid({**event, "values": {"loss": "low"}})
    assert not validator.is_valid({name: event[name] for name in ("type", "time", "values")})


@pytest.mark.parametrize("path", CONSTRAINTS, ids=lambda path: path.name)
def test_constraints_pin_every_package_by_hash_and_name_no_place_to_get_it(path):
    text = path.read_text()
    assert not re.search(r"://|^\s*-(?!-hash)|@ ", text, re.MULTILINE)
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9._-]+(\[.*?\])?==\S+", requirement), requirement[:80]
        assert "--hash=sha256:" in requirement, requirement[:80]


@pytest.mark.parametrize("path", CONSTRAINTS, ids=lambda path: path.name)
def test_constraints_hold_all_that_the_project_asks_for(path):
    pinned = set(re.findall(r"^([a-z0-9._-]+)(?:\[.*?\])?==", path.read_text(), re.MULTILINE))
    asked = [*project()["project"]["dependencies"]]
    if path.stem == "action":  # a gate in a workflow, built from the action's own checkout
        asked += [*_flatten("build"), *project()["project"]["optional-dependencies"]["gate"]]
    else:
        asked += _flatten(path.stem)
    wanted = {_name(requirement) for requirement in asked}
    assert wanted - pinned == set(), "run `make lock`"


def _flatten(name):
    for entry in project()["dependency-groups"][name]:
        if isinstance(entry, dict):
            yield from _flatten(entry["include-group"])
        else:
            yield entry


def _name(requirement):
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def test_the_wheel_holds_the_package_its_types_its_schemas_and_the_licence(tmp_path):
    done = run("-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"unitrack/__init__.py", "unitrack/py.typed", "unitrack/_schemas/event.schema.json"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"unitrack"}


def test_the_version_is_said_in_one_place():
    import unitrack

    version = project()["project"]["version"]
    assert unitrack.__version__ == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
    assert [path for path in PRODUCT if "__version__ =" in path.read_text()] == []
