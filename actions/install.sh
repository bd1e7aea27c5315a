# Install unitrack from this very checkout, with what it needs pinned by hash; `python` is the way to it.
set -euo pipefail

if [[ -n $PYTHON ]]; then
    python=$(command -v -- "$PYTHON") || { echo "::error::the input python, $PYTHON, is no program here"; exit 2; }
    "$python" -c 'import unitrack' || { echo "::error::$PYTHON has no unitrack: install it, or leave the input out"; exit 2; }
    [[ $python == /* ]] || python=$PWD/$python
    echo "python=$python" >>"$GITHUB_OUTPUT"
    exit 0
fi

base=$(command -v python3 || command -v python || true)
if [[ -z $base ]] || ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "::error::Python 3.10 or later is needed: put actions/setup-python before this step"
    exit 2
fi

# One environment a job, whichever of our actions comes first: a second one finds it.
root=$(cd -- "$ACTION_ROOT" && pwd)
place=$RUNNER_TEMP/unitrack-$(printf '%s' "$root" | cksum | tr ' ' -)
if [[ ! -e $place/ready ]]; then
    echo "::group::Install unitrack"
    rm -rf -- "$place"
    "$base" -m venv "$place"
    python=$place/bin/python
    [[ -e $python ]] || python=$place/Scripts/python.exe
    pip=("$python" -m pip --disable-pip-version-check --no-input install --quiet --no-compile) # what is used is compiled when it is
    "${pip[@]}" --require-hashes --only-binary :all: -r "$root/constraints/action.txt"
    "${pip[@]}" --no-deps --no-build-isolation --no-index "$root"
    echo "$python" >"$place/ready"
    echo "::endgroup::"
fi
echo "python=$(<"$place/ready")" >>"$GITHUB_OUTPUT"
