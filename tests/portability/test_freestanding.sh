#!/usr/bin/env bash
# The core needs neither a C library nor writable global data, whichever compiler builds it.
set -euo pipefail
compilers=()
for cc in gcc clang; do
    command -v "$cc" >/dev/null && compilers+=("$cc")
done
[[ ${#compilers[@]} -gt 0 ]] || { echo "skipped: neither gcc nor clang is here"; exit 77; }
exec "$(dirname "$0")/../../scripts/check-freestanding.sh" "${compilers[@]}"
