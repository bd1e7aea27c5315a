# Move the alias if the push merged exactly what passed; write attestation and release note.
set -euo pipefail

arguments=(ci promote --alias "$ALIAS" --output "$OUTPUT")
[[ -z $VERDICT ]] || arguments+=(--verdict "$VERDICT")
[[ -z $MODEL ]] || arguments+=(--model "$MODEL")
[[ -z $RUN ]] || arguments+=(--run "$RUN")
[[ -n $RUN || -z $VERDICT ]] || arguments+=(--register)

cd -- "$WORKING_DIRECTORY"
log=$(mktemp "$RUNNER_TEMP/unitrack-promote-XXXXXX")
code=0
"$PYTHON" -m unitrack "${arguments[@]}" 2>&1 | tee "$log" || code=$?
if [[ $code != 0 || ! -e $OUTPUT/attestation.json ]]; then
    echo "promoted=false" >>"$GITHUB_OUTPUT"
    printf '## Nothing was promoted\n\n' >>"$GITHUB_STEP_SUMMARY"
    sed 's/^/    /' "$log" >>"$GITHUB_STEP_SUMMARY" # indented, it is no markup
    exit "$code"
fi

if [[ $PUSH == true ]]; then
    # The registry is a folder of the repository: what moved is a commit. A token's push starts no workflow.
    if [[ -n $GITHUB_TOKEN ]]; then
        secret=$(printf 'x-access-token:%s' "$GITHUB_TOKEN" | base64 | tr -d '\n')
        echo "::add-mask::$secret"
        export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="http.$GITHUB_SERVER_URL/.extraheader"
        export GIT_CONFIG_VALUE_0="AUTHORIZATION: basic $secret"
    fi
    git add -- "$REGISTRY"
    git -c user.name="github-actions[bot]" -c user.email="41898282+github-actions[bot]@users.noreply.github.com" \
        commit --quiet --message "Promote to $ALIAS by the gate's verdict" -- "$REGISTRY"
    git push --quiet origin "HEAD:$GITHUB_REF" || {
        echo "::error::the registry could not be pushed to $GITHUB_REF: it has moved on, or the job lacks \`contents: write\`"
        exit 4
    }
fi
{
    echo "promoted=true"
    echo "attestation=$(cd -- "$OUTPUT" && pwd)/attestation.json"
    echo "release-note=$(cd -- "$OUTPUT" && pwd)/release-note.md"
} >>"$GITHUB_OUTPUT"
