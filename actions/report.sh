# Say what came of it: job summary, outputs, annotations and, with a token, comment, check run and label.
set -euo pipefail

if [[ -z ${PYTHON-} ]]; then
    printf '## ⛔ Gate has no verdict\n\nunitrack could not be installed: see the log.\n' >>"$GITHUB_STEP_SUMMARY"
    printf 'verdict=none\n' >>"$GITHUB_OUTPUT"
    exit 4
fi

arguments=(ci report --gate "$GATE")
[[ ${ENFORCE-true} != true ]] || arguments+=(--enforce)
[[ -z $VERDICT ]] || arguments+=(--verdict "$VERDICT")
[[ -z ${GATE_LOG-} ]] || arguments+=(--gate-log "$GATE_LOG")
[[ -z ${EVIDENCE-} ]] || arguments+=(--evidence "$EVIDENCE")
[[ -z ${AUTHOR-} ]] || arguments+=(--author "$AUTHOR")
read -ra posts <<<"${POST-}"
for post in ${posts[@]+"${posts[@]}"}; do arguments+=(--post "$post"); done

cd -- "$WORKING_DIRECTORY"
exec "$PYTHON" -m unitrack "${arguments[@]}"
