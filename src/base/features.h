/*
 * What can be left out of libfoyer when it is built, by -D or by CMake's options of the same names.
 * Everything is in by default, so that the core still compiles with one bare cc line. What is left
 * out is refused by the public calls with -EAFNOSUPPORT or -EOPNOTSUPP, and dropped on the wire.
 */
#ifndef FOYER_BASE_FEATURES_H
#define FOYER_BASE_FEATURES_H

/*
 * 0: IPv4 only. foyer_addr_is_v4() is then true for the compiler (types.h), which drops the other
 * branch of each question; the public calls let no other address in (addr_is_spoken, stack.h).
 */
#ifndef FOYER_WITH_IPV6
#define FOYER_WITH_IPV6 1
#endif

#endif
