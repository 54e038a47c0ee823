#!/usr/bin/env bash
# Runs each fuzz target for a while: fuzz.sh <fuzz build folder> [seconds] [name ...]
#
# What it learns goes to <build>/corpus, on top of fuzz/corpus in the tree. A finding stays in
# <build>/findings; copy it to fuzz/corpus/<name>/ together with the fix.
set -euo pipefail

if [[ $# -eq 0 || $1 == --help || $1 == -h ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    exit 0
fi
cd "$(dirname "$0")/.."

build=$1
seconds=${2:-60}
shift $(($# < 2 ? $# : 2))

targets=()
for target in "$build"/fuzz/fuzz_*; do
    [[ -f $target && -x $target ]] || continue
    name=${target##*/fuzz_}
    if [[ $# -eq 0 || " $* " = *" $name "* ]]; then
        targets+=("$name")
    fi
done
if [[ ${#targets[@]} -eq 0 ]]; then
    echo "fuzz: no target in $build/fuzz" >&2
    exit 1
fi

failed=()
for name in "${targets[@]}"; do
    learned=$build/corpus/$name
    findings=$build/findings/$name
    mkdir -p "$learned" "$findings"
    seeds=()
    [[ -d fuzz/corpus/$name ]] && seeds=("fuzz/corpus/$name")
    echo "fuzz: $name for $seconds s"
    "$build/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -verbosity=0 -artifact_prefix="$findings/" \
        "$learned" "${seeds[@]}" </dev/null || failed+=("$name")
done

if [[ ${#failed[@]} -ne 0 ]]; then
    echo "fuzz: findings in: ${failed[*]} (see $build/findings)" >&2
    exit 1
fi
echo "fuzz: ${#targets[@]} targets, no finding"
