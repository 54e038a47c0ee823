# What of libfoyer is built: include/foyer/features.h says what each switch means. Files that serve
# only what is left out are not compiled, so a forgotten call of theirs is a link error.
#
# Sets FOYER_FEATURES, definitions of what is not as features.h has it by default, and
# FOYER_LEFT_OUT, a pattern of file names.
include(CMakeDependentOption)

option(FOYER_WITH_IPV6 "IPv6" ON)
option(FOYER_WITH_TCP "TCP" ON)
option(FOYER_WITH_UDP "UDP" ON)
cmake_dependent_option(FOYER_WITH_DHCP "Clients of DHCPv4 and DHCPv6" ON "FOYER_WITH_UDP" OFF)
option(FOYER_WITH_MULTICAST "Multicast groups: IGMP, MLD, sockets' memberships" ON)
option(FOYER_WITH_REASSEMBLY "Reassembly of fragments" ON)
set(FOYER_CONGESTION "cubic;dctcp;bbr" CACHE STRING
    "Congestion controls beside NewReno; the first of CUBIC and NewReno that is there is the default")
option(FOYER_SMALL "Buffers and tables for small machines" OFF)

if(NOT FOYER_WITH_TCP AND NOT FOYER_WITH_UDP)
    message(FATAL_ERROR "FOYER_WITH_TCP and FOYER_WITH_UDP are both OFF: what is left has no sockets")
endif()
foreach(name IN LISTS FOYER_CONGESTION)
    if(NOT name MATCHES "^(cubic|newreno|dctcp|bbr)$")
        message(FATAL_ERROR "FOYER_CONGESTION: ${name} is none of cubic, newreno, dctcp, bbr")
    endif()
endforeach()

set(FOYER_FEATURES "")
set(left_out "")
# name: in features.h; is_in: a condition; pattern: of the names of the files that are for it alone.
# IPv6 has none: what it needs falls away within the files.
macro(foyer_feature name is_in pattern)
    if(NOT (${is_in}))
        list(APPEND FOYER_FEATURES ${name}=0)
        list(APPEND left_out "${pattern}")
    endif()
endmacro()
foyer_feature(FOYER_WITH_IPV6 FOYER_WITH_IPV6 "none")
foyer_feature(FOYER_WITH_TCP FOYER_WITH_TCP "stack/tcp_.*|wire/tcp|stack/(ahead|segment|socket_request)")
foyer_feature(FOYER_WITH_UDP FOYER_WITH_UDP "stack/udp.*|wire/udp")
foyer_feature(FOYER_WITH_DHCP FOYER_WITH_DHCP "(stack|wire)/dhcp.*")
foyer_feature(FOYER_WITH_MULTICAST FOYER_WITH_MULTICAST "stack/group.*|wire/membership")
foyer_feature(FOYER_WITH_REASSEMBLY FOYER_WITH_REASSEMBLY "stack/frag")
foyer_feature(FOYER_WITH_CUBIC "cubic;IN_LIST;FOYER_CONGESTION" "stack/tcp_cc_cubic")
foyer_feature(FOYER_WITH_DCTCP "dctcp;IN_LIST;FOYER_CONGESTION" "stack/tcp_cc_dctcp")
foyer_feature(FOYER_WITH_BBR "bbr;IN_LIST;FOYER_CONGESTION" "stack/tcp_cc_bbr.*")
list(JOIN left_out "|" left_out)
set(FOYER_LEFT_OUT "/(${left_out})\\.c$")

if(FOYER_SMALL)
    list(APPEND FOYER_FEATURES FOYER_SMALL=1)
endif()
if(FOYER_FEATURES AND FOYER_PROGRAMS)
    message(FATAL_ERROR
        "foyerd needs all of libfoyer: ${FOYER_FEATURES} needs FOYER_PROGRAMS=OFF")
endif()
