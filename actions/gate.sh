# Train and judge. Ends well whatever comes of it: the report that follows tells, and decides.
set -euo pipefail

folder=$(mktemp -d "$RUNNER_TEMP/unitrack-gate-XXXXXX")
arguments=(gate --candidate "$CANDIDATE" --output "$folder")
[[ -z $BASELINE ]] || arguments+=(--baseline "$BASELINE")
[[ -z $SEEDS ]] || arguments+=(--seeds "$SEEDS")
[[ -z $POLICY_REF ]] || arguments+=(--policy-ref "$POLICY_REF")
[[ -z $BRANCH ]] || arguments+=(--branch "$BRANCH")

echo "folder=$folder" >>"$GITHUB_OUTPUT"
source "${BASH_SOURCE%/*}/shown.sh"
unitrack_there() {
    cd -- "$WORKING_DIRECTORY" && exec "$PYTHON" -m unitrack "$@"
}
shown "$folder/gate.log" unitrack_there "${arguments[@]}"
echo "code=$code" >>"$GITHUB_OUTPUT"
