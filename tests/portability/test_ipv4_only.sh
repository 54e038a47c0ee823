#!/usr/bin/env bash
# libfoyer built without IPv6 (FOYER_WITH_IPV6=OFF): refuses what it cannot, and TCP and UDP work.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=$FOYER_BUILD/portability-ipv4-only
# Those unit tests that speak of no IPv6 address (features: of its refusal).
units=(features dhcp4 tcp_cc tcp_options tcp_rack tcp_random tcp_ranges tcp_recovery tcp_request
    tcp_send tcp_states tcp_timers)

args=(-DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O1 -DFOYER_WITH_IPV6=OFF -DFOYER_PROGRAMS=OFF
    -DFOYER_BENCH=OFF -DFOYER_EXAMPLES=OFF -DFOYER_LINK_XDP=OFF)
command -v ninja >/dev/null && [[ ! -e $build/CMakeCache.txt ]] && args+=(-G Ninja)
mkdir -p "$build"
cmake -S "$top" -B "$build" "${args[@]}" >"$build/configure.log"
cmake --build "$build" --parallel "${JOBS:-2}" \
    --target "${units[@]/#/unit.stack.}" sim.transfer sim.udp >"$build/build.log" ||
    { tail -20 "$build/build.log"; exit 1; }
for unit in "${units[@]}"; do
    "$build/tests/unit.stack.$unit"
done
for scenario in v4_plain_loss3 v4_tso_loss1; do
    "$build/tests/sim.transfer" --scenario "$scenario" --seed 1
done
"$build/tests/sim.udp" --scenario loss_v4 --seed 1
