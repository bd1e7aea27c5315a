# Train and judge. Ends well whatever comes of it: the report that follows tells, and decides.
set -euo pipefail

folder=$(mktemp -d "$RUNNER_TEMP/unitrack-gate-XXXXXX")
arguments=(gate --candidate "$CANDIDATE" --output "$folder")
[[ -z $BASELINE ]] || arguments+=(--baseline "$BASELINE")
[[ -z $SEEDS ]] || arguments+=(--seeds "$SEEDS")
[[ -z $POLICY_REF ]] || arguments+=(--policy-ref "$POLICY_REF")
[[ -z $BRANCH ]] || arguments+=(--branch "$BRANCH")

echo "folder=$folder" >>"$GITHUB_OUTPUT"
# What training prints is shown below, and must not speak to the runner.
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "::stop-commands::$token"
code=0
(cd -- "$WORKING_DIRECTORY" && exec "$PYTHON" -m unitrack "${arguments[@]}") 2>&1 | tee "$folder/gate.log" || code=$?
echo "::$token::"
echo "code=$code" >>"$GITHUB_OUTPUT"
