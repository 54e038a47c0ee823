#!/usr/bin/env bash
# Configures a preset and builds a target: build.sh <preset> <build folder> <target>
#
# The target `configure` stops after CMake. Environment: JOBS, CMAKE_ARGS (words).
set -euo pipefail
cd "$(dirname "$0")/.."

# The build tool is our own child, not a part of the make that called us: its job server and its
# -w chatter do not apply.
unset MAKEFLAGS MFLAGS MAKELEVEL

preset=$1
build=$2
target=$3

args=(--preset "$preset" -B "$build")
# A folder keeps the generator it was made with; CMake refuses any other.
if [[ ! -e $build/CMakeCache.txt ]] && command -v ninja >/dev/null; then
    args+=(-G Ninja)
fi
# Unquoted on purpose: it is a list of words.
# shellcheck disable=SC2206
args+=(${CMAKE_ARGS-})

mkdir -p "$build"
if ! cmake "${args[@]}" >"$build/configure.log" 2>&1; then
    cat "$build/configure.log" >&2
    exit 1
fi
[[ $target = configure ]] && exit 0
exec cmake --build "$build" --target "$target" --parallel "${JOBS:-2}"
