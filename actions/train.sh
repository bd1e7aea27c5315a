# Train one commit with every seed; what is trained already is not trained again. Nothing is judged.
set -euo pipefail

cd -- "$WORKING_DIRECTORY"
commit=$(git rev-parse --verify --end-of-options "$COMMIT^{commit}")
printf 'candidate=%s\n' "$commit" >>"$GITHUB_OUTPUT"
arguments=(rerun "$commit")
[[ -z $SEEDS ]] || arguments+=(--seeds "$SEEDS")

log=$(mktemp "$RUNNER_TEMP/unitrack-train-XXXXXX")
source "${BASH_SOURCE%/*}/shown.sh"
shown "$log" "$PYTHON" -m unitrack "${arguments[@]}"
{
    printf '## %s\n\n' "$([[ $code == 0 ]] && echo Trained || echo "Training gave no evidence")"
    head -c 60000 -- "$log" | sed 's/^/    /' # indented, it is no markup
} >>"$GITHUB_STEP_SUMMARY"
exit "$code"
