/*
 * Round-trip times and the retransmission timeout (RFC 6298).
 *
 * Samples come from two sources. One segment per flight is timed with the caller's clock, in
 * microseconds, from the pull to the arrival of the ACK (rx->arrival_ns); Karn's algorithm
 * (RFC 9293 section 3.8.1, MUST-18) throws it away when anything is retransmitted. Where
 * timestamps are on (RFC 7323 section 4), their echo gives the sample that Karn forbids. One
 * sample per round trip is what the gains of RFC 6298 are made for; RFC 7323 appendix G says
 * what more frequent ones do to them.
 */
#include "stack/tcp.h"

#define RTT_MAX_US (120u * 1000u * 1000u)

/* RFC 6298 (2.2) and (2.3): alpha 1/8, beta 1/4, clock granularity below a microsecond. */
void tcp_rtt_sample(struct tcb *tcb, uint32_t rtt_us)
{
    if (rtt_us == 0)
        rtt_us = 1;
    if (rtt_us > RTT_MAX_US)
        rtt_us = RTT_MAX_US;
    tcb->is_probed = false;
    if (tcb->srtt_us8 == 0) {
        tcb->srtt_us8 = rtt_us * 8;
        tcb->rttvar_us4 = rtt_us * 2;
        return;
    }
    uint32_t srtt_us = tcb->srtt_us8 / 8;
    uint32_t error_us = srtt_us > rtt_us ? srtt_us - rtt_us : rtt_us - srtt_us;

    tcb->rttvar_us4 = tcb->rttvar_us4 - tcb->rttvar_us4 / 4 + error_us;
    tcb->srtt_us8 = tcb->srtt_us8 - srtt_us + rtt_us;
    if (tcb->srtt_us8 == 0)
        tcb->srtt_us8 = 1;
}

/*
 * The variance term, not the sum, is kept above the minimum: on a path whose RTT hardly varies
 * the timeout must still cover the peer's delayed ACK on top of the RTT. This is never below
 * what (2.3) and a minimum of 200 ms would give.
 */
foyer_time_ns tcp_rto_base_ns(const struct tcb *tcb)
{
    if (tcb->srtt_us8 == 0) {
        /* RFC 6298 (2.1), (5.7). */
        return (tcb->flags & (TCPF_SYN_LOST | TCPF_SYN_ACKED)) == (TCPF_SYN_LOST | TCPF_SYN_ACKED)
                   ? TCP_RTO_INITIAL_LOST_NS
                   : TCP_RTO_INITIAL_NS;
    }
    foyer_time_ns variance_ns = (foyer_time_ns)tcb->rttvar_us4 * FOYER_NS_PER_US;
    if (variance_ns < TCP_RTO_MIN_NS)
        variance_ns = TCP_RTO_MIN_NS;
    foyer_time_ns rto_ns = (foyer_time_ns)(tcb->srtt_us8 / 8) * FOYER_NS_PER_US + variance_ns;
    return rto_ns < TCP_RTO_MAX_NS ? rto_ns : TCP_RTO_MAX_NS;
}

/* RFC 6298 (5.5): doubled at each timeout, up to the maximum of (2.5). */
foyer_time_ns tcp_rto_ns(const struct tcb *tcb)
{
    foyer_time_ns rto_ns = tcp_rto_base_ns(tcb);

    for (unsigned i = 0; i < tcb->backoff && rto_ns < TCP_RTO_MAX_NS; i++)
        rto_ns *= 2;
    return rto_ns < TCP_RTO_MAX_NS ? rto_ns : TCP_RTO_MAX_NS;
}
