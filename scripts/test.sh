#!/usr/bin/env bash
# Everything that CI runs: set-up, build, lint, and all tests twice, plain and with the address
# and undefined-behaviour sanitizers. Environment: BUILD, JOBS.
#
# The last line is `N passed, N failed, N skipped`, summed over both runs of ctest. A step before
# the tests that fails (set-up, a build, lint) counts as one failure, so that the line cannot
# look better than the exit status.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}
jobs=${JOBS:-2}
export JOBS=$jobs
results=()
failed_steps=0

# Only scripts/build.sh and ctest create the folders; stale results must not be counted.
rm -f "$build/ctest.xml" "$build-asan/ctest.xml"

step()
{
    local name=$1 start=$SECONDS
    shift
    echo "== $name"
    if "$@"; then
        echo "== $name: ok ($((SECONDS - start)) s)"
    else
        echo "== $name: FAILED ($((SECONDS - start)) s)"
        failed_steps=$((failed_steps + 1))
        return 1
    fi
}

run_ctest()
{
    local folder=$1
    shift
    ctest --test-dir "$folder" --parallel "$jobs" --output-on-failure --no-tests=error \
        --output-junit ctest.xml "$@" </dev/null
}

# A failed test is in ctest's results and must not be counted a second time. But ctest that fails
# without one (no test found, killed half-way) is a failure of its own.
tests()
{
    local preset=$1 folder=$2 start=$SECONDS status=0 counts=
    shift 2
    echo "== tests ($preset)"
    run_ctest "$folder" "$@" || status=$?
    if [[ -s $folder/ctest.xml ]]; then
        results+=("$folder/ctest.xml")
        counts=$(python3 scripts/test-summary.py 0 "$folder/ctest.xml")
    fi
    if [[ -z $counts || ($status -ne 0 && $counts = *" 0 failed"*) ]]; then
        failed_steps=$((failed_steps + 1))
    fi
    echo "== tests ($preset): ${counts:-no results} ($((SECONDS - start)) s)"
}

finish()
{
    local line
    line=$(python3 scripts/test-summary.py "$failed_steps" "${results[@]}")
    echo "total time: $SECONDS s"
    echo "$line"
    [[ $line =~ ^[0-9]+\ passed,\ 0\ failed, ]]
}

if step set-up scripts/setup.sh test; then
    # Configuring alone is what lint needs; it tells about style before the long build.
    if step configure scripts/build.sh dev "$build" configure; then
        step lint scripts/lint.sh "$build" || true
        if step "build (dev)" scripts/build.sh dev "$build" all; then
            tests dev "$build"
        fi
        if step "build (asan)" scripts/build.sh asan "$build-asan" all; then
            # Builds of their own are the same again; the DHCP servers' shortest lease is long.
            tests asan "$build-asan" --label-exclude portability --exclude-regex interop.dhcp
        fi
    fi
fi
finish
