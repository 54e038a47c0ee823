#!/usr/bin/env bash
# Measures foyer beside the kernel's loopback; see bench.py --help.
exec python3 "$(dirname "$0")/bench.py" "$@"
