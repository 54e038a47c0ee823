#!/usr/bin/env bash
# libfoyer built for a big-endian machine, and its tests run there.
exec "$(dirname "$0")/../../scripts/portability.sh" big "$FOYER_BUILD/portability-s390x"
