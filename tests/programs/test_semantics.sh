#!/usr/bin/env bash
# The same calls on the kernel's sockets and on foyer's must give the same answers, but for what
# semantics.expected lists. Environment: FOYER_BUILD.
set -euo pipefail
cd "$(dirname "$0")"

foyer=$FOYER_BUILD/bin/foyer
work=$(mktemp -d)
export FOYER_DIR=$work/run
export FOYER_BUILDING=semantics
mkdir -m 700 "$FOYER_DIR"

finish()
{
    "$foyer" down >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

"$foyer" up >/dev/null
failures=0
count=0

# Whether a case is expected to differ.
is_expected()
{
    grep -q "^$1 " semantics.expected
}

# Compares line by line; both name the case before the first colon.
compare()
{
    local program=$1 name line lines
    mapfile -t lines <"$work/kernel"
    for line in "${lines[@]}"; do
        name=${line%%:*}
        count=$((count + 1))
        if [[ $(grep -c "^$name:" "$work/kernel") != 1 ||
            $(grep -c "^$name:" "$work/foyer") != 1 ]]; then
            echo "FAILED $program:$name: not exactly one answer"
            failures=$((failures + 1))
        elif [[ $line == *": killed by SIGALRM" ]]; then
            echo "FAILED $program:$name: hangs on the kernel's sockets, so the case is wrong"
            failures=$((failures + 1))
        elif grep -qxF -- "$line" "$work/foyer"; then
            if is_expected "$program:$name"; then
                echo "FAILED $program:$name: expected to differ, but is the same"
                failures=$((failures + 1))
            fi
        elif ! is_expected "$program:$name"; then
            echo "FAILED $program:$name"
            echo "  kernel: $line"
            echo "  foyer:  $(grep "^$name:" "$work/foyer")"
            failures=$((failures + 1))
        fi
    done
    if [[ $(wc -l <"$work/kernel") != $(wc -l <"$work/foyer") ]]; then
        echo "FAILED $program: different numbers of answers"
        failures=$((failures + 1))
    fi
}

# Runs the program on foyer, with what follows in its environment.
run_on_foyer()
{
    local program=$1
    shift
    if ! env "$@" "$foyer" run --host "${program//_/-}" "$FOYER_BUILD/tests/$program" \
        >"$work/foyer" 2>"$work/errors"; then
        echo "FAILED $program: exit status"
        failures=$((failures + 1))
    fi
    # What is said on descriptor 2 is only that ports are taken, which cases ask for.
    if grep -v "^foyer: port .* is taken: " "$work/errors"; then
        echo "FAILED $program: unexpected words"
        failures=$((failures + 1))
    fi
    compare "$program"
}

for source in semantics_*.c; do
    program=${source%.c}
    "$FOYER_BUILD/tests/$program" >"$work/kernel"
    run_on_foyer "$program"
    run_on_foyer "$program" SEMANTICS_USED=1
done

echo "$count answers compared, $failures failures"
[[ $failures == 0 && $count -gt 100 ]]
