#!/bin/sh
# A training for the tests of the kill test: ten steps, a checkpoint after every second one.
# With `--set fault=1` a resumed training ends with another model.
set -eu
command=$1
shift
name=
runs=
csv=
fault=0
resumed=0
while [ $# -gt 0 ]; do
    case $1 in
    --name) name=$2; shift ;;
    --resume) name=$2; resumed=1; shift ;;
    --runs) runs=$2; shift ;;
    --predictions) csv=$2; shift ;;
    --set) case $2 in fault=1) fault=1 ;; esac; shift ;;
    --*) ;;
    *) [ "$command" = evaluate ] && [ -z "$name" ] && name=$1 ;;
    esac
    shift
done
run=$runs/$name

if [ "$command" = evaluate ]; then
    cat "$run/model.safetensors" >"$csv"
    echo '{"accuracy":0.99}'
    exit
fi

if [ "$resumed" = 0 ]; then
    mkdir -p "$run/checkpoints"
    echo "fault=$fault" >"$run/run.tmp"
    mv "$run/run.tmp" "$run/run.toml"
fi
[ -f "$run/run.toml" ] || { echo "error: nothing to resume" >&2; exit 1; }
grep -q fault=1 "$run/run.toml" && fault=1
last=$(ls "$run/checkpoints" | grep '^step-' | sort | tail -n 1 || true)
step=0
: >"$run/metrics.jsonl"
if [ -n "$last" ]; then
    step=$(sed 's/[^0-9]//g' "$run/checkpoints/$last/state.json")
    cp "$run/checkpoints/$last/metrics.jsonl" "$run/metrics.jsonl"
fi
while [ "$step" -lt 10 ]; do
    sleep 0.02
    step=$((step + 1))
    echo "{\"step\":$step}" >>"$run/metrics.jsonl"
    if [ $((step % 2)) = 0 ]; then
        whole=$run/checkpoints/step-$(printf %04d "$step")
        rm -rf "$run/checkpoints/.new"
        mkdir "$run/checkpoints/.new"
        cp "$run/metrics.jsonl" "$run/checkpoints/.new/metrics.jsonl"
        echo "{\"step\":$step}" >"$run/checkpoints/.new/state.json"
        mv "$run/checkpoints/.new" "$whole"
    fi
done
[ "$fault" = 1 ] && [ "$resumed" = 1 ] && echo other >"$run/model.safetensors" && exit
echo model >"$run/model.safetensors"
