#!/usr/bin/env bash
# Measures the core beside lwIP, the kernel and memcpy (bench/core.c), then programs beside the
# kernel's loopback (bench.py):
#
#   bench.sh [bench.py's arguments]   both; with arguments the programs alone
#   bench.sh core [core's arguments]  the core alone, for example --full
#   bench.sh goodput [its arguments]  goodput over bad paths beside Linux and lwIP, ten minutes;
#                                     as root, or Linux is left out
set -euo pipefail

here=$(dirname "$0")
build=${FOYER_BUILD:-$here/../build-bench}

core()
{
    "$build/bench/core" --json "$build/bench/core.json" "$@"
}

if [[ ${1-} == --help || ${1-} == -h ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    echo
fi
if [[ ${1-} == core ]]; then
    shift
    core "$@"
    exit
fi
if [[ ${1-} == goodput ]]; then
    shift
    exec "$build/bench/goodput" --json "$build/bench/goodput.json" "$@"
fi
if [[ $# -eq 0 ]]; then
    core
    echo
fi
exec python3 "$here/bench.py" "$@"
