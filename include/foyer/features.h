/*
 * What can be left out of libfoyer when it is built, by CMake's options of the same names. An
 * installed library says what it is by the definitions that foyer::foyer and foyer.pc bring along,
 * so that these headers agree with it. Everything is in by default, and the core still compiles with one
 * bare cc line; whoever builds a part alone so gives the definition (-DFOYER_WITH_TCP=0) and leaves
 * out the files that src/features.cmake names for it.
 *
 * The calls of what is left out are still there and answer with an error: see each of them here. Packets
 * of what is left out are dropped.
 */
#ifndef FOYER_FEATURES_H
#define FOYER_FEATURES_H

/*
 * 0: IPv4 only. Sockets and addresses of the other family: -EAFNOSUPPORT or -EINVAL.
 * foyer_addr_is_v4() is then true for the compiler (types.h), which drops the other branch of each
 * question; the public calls let no other address in (addr_is_spoken, src/stack/stack.h).
 */
#ifndef FOYER_WITH_IPV6
#define FOYER_WITH_IPV6 1
#endif

/* 0: no TCP. foyer_socket_open: -EPROTONOSUPPORT; TCP's calls and options: as for a UDP socket, which
 * they refuse; foyer_request_...: -EBADF. Segments are answered as any protocol that a host does
 * not speak (RFC 1122 section 3.2.2.1). */
#ifndef FOYER_WITH_TCP
#define FOYER_WITH_TCP 1
#endif

/* 0: no UDP. foyer_socket_open: -EPROTONOSUPPORT; datagrams' calls and options: as for a TCP socket.
 * Takes DHCP with it. */
#ifndef FOYER_WITH_UDP
#define FOYER_WITH_UDP 1
#endif

/* 0: no DHCP clients. foyer_dhcp4_... and foyer_dhcp6_...: -EOPNOTSUPP. */
#ifndef FOYER_WITH_DHCP
#define FOYER_WITH_DHCP FOYER_WITH_UDP
#endif

/*
 * 0: no groups but those of all hosts, and nothing is told to multicast routers. The calls about groups
 * and sources: -EOPNOTSUPP. IPv6's solicited-node groups are heard as ever; a switch that snoops MLD
 * (RFC 4541) may keep them back.
 */
#ifndef FOYER_WITH_MULTICAST
#define FOYER_WITH_MULTICAST 1
#endif

/* 0: fragments are dropped, and counted in in_dropped_malformed. They are still sent. Not for a host
 * that must keep to RFC 1122 section 3.3.2 or RFC 8200 section 5, which ask for reassembly. */
#ifndef FOYER_WITH_REASSEMBLY
#define FOYER_WITH_REASSEMBLY 1
#endif

/* Congestion controls, beside NewReno, which is always there: 0: FOYER_OPT_CONGESTION and
 * foyer_host_config's congestion refuse it with -EINVAL; CUBIC, the default, becomes NewReno. */
#ifndef FOYER_WITH_CUBIC
#define FOYER_WITH_CUBIC 1
#endif
#ifndef FOYER_WITH_DCTCP
#define FOYER_WITH_DCTCP 1
#endif
#ifndef FOYER_WITH_BBR
#define FOYER_WITH_BBR 1
#endif

/*
 * 1: sizes for small machines. What a host holds from the start shrinks (sizes in docs/embedding.md);
 * the config's defaults become 4096 bytes for rings, which do not grow, 64 sockets, 32 requests and
 * 32 TIME-WAITs; a datagram that must be fragmented may have 8000 bytes, larger ones are -EMSGSIZE.
 */
#ifndef FOYER_SMALL
#define FOYER_SMALL 0
#endif

#endif
