#!/usr/bin/env bash
# libfoyer built for a 32-bit machine, and its tests run there.
exec "$(dirname "$0")/../../scripts/portability.sh" 32 "$FOYER_BUILD/portability-i686"
