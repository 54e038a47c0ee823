/*
 * The rate at which the path delivers: draft-ietf-ccwg-bbr section 4.1 (once
 * draft-cheng-iccrg-delivery-rate-estimation). For each segment is noted how much had been
 * delivered when it left; its ACK then tells how much was in between, and in which time:
 *
 *     rate = delivered / max(time of sending, time of acknowledging)
 *
 * of which the longer is the honest one: ACKs may come compressed, and sending may have been slow.
 * A record (tcp_board.h) is marked where it begins. What shares it left within a 64th of a round
 * trip, and the rate is that much too low at worst, never too high.
 */
#include "stack/tcp.h"

void tcp_rate_on_sent(struct tcb *tcb, struct tcp_sent *sent, uint32_t size, bool is_first,
                      uint32_t now_us)
{
    struct tcp_rate *rate = &tcb->board->rate;
    uint32_t pipe = tcp_pipe(tcb);

    if (!is_first) {
        sent->mark.flight_bytes += size;
        return;
    }
    /* Section 4.1.2.2: time without anything out says nothing. What is only believed to be lost
     * is out: its ACKs may come in a burst, and a short interval would make much of them. */
    if (tcp_flight(tcb) == 0) {
        rate->first_sent_us = now_us;
        rate->delivered_us = now_us;
    }
    sent->mark = (struct tcp_rate_mark){
        .is_app_limited = rate->app_limited_bytes != 0,
        .delivered_bytes = rate->delivered_bytes,
        .delivered_us = rate->delivered_us,
        .first_sent_us = rate->first_sent_us,
        .flight_bytes = pipe + size,
        .lost_bytes = rate->lost_bytes,
    };
}

/* Was it sent after the one that the sample goes by so far? */
static bool is_newer(const struct tcp_rate_sample *sample, const struct tcp_sent *sent, seq_t end)
{
    int32_t later_us = (int32_t)(sent->sent_us - sample->sent_us);

    return !sample->has_mark || later_us > 0 || (later_us == 0 && seq_gt(end, sample->end));
}

/* Section 4.1.2.3, UpdateRateSample. */
void tcp_rate_on_delivered(struct tcb *tcb, const struct tcp_sent *sent, seq_t end, uint32_t size,
                           struct tcp_delivery *delivery)
{
    struct tcp_rate *rate = &tcb->board->rate;
    struct tcp_rate_sample *sample = &delivery->rate;

    rate->delivered_bytes += size;
    rate->delivered_us = delivery->arrival_us;
    if (!is_newer(sample, sent, end))
        return;
    sample->has_mark = true;
    sample->is_again = sent->is_again;
    sample->mark = sent->mark;
    sample->sent_us = sent->sent_us;
    sample->end = end;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Section 4.1.2.3, GenerateRateSample. */
void tcp_rate_take(struct tcb *tcb, struct tcp_delivery *delivery)
{
    struct tcp_rate *rate = &tcb->board->rate;
    struct tcp_rate_sample *sample = &delivery->rate;

    if (rate->app_limited_bytes != 0 &&
        (int32_t)(rate->delivered_bytes - rate->app_limited_bytes) > 0)
        rate->app_limited_bytes = 0;
    if (!sample->has_mark)
        return;
    uint32_t send_us = sample->sent_us - sample->mark.first_sent_us;
    uint32_t ack_us = rate->delivered_us - sample->mark.delivered_us;

    rate->first_sent_us = sample->sent_us;
    sample->delivered_bytes = rate->delivered_bytes - sample->mark.delivered_bytes;
    sample->lost_bytes = rate->lost_bytes - sample->mark.lost_bytes;
    sample->interval_us = max_u32(send_us, ack_us);
    /* A sample of less than a round trip is of an ACK of something else (an original, where the
     * retransmission is meant); of a clock that went back, too. */
    if (sample->interval_us < max_u32(tcb->min_rtt_us, 1) || (int32_t)sample->interval_us < 0) {
        sample->interval_us = 0;
        return;
    }
    /* As Linux shows it: the last, or a better one though the program was slow. */
    uint64_t before = (uint64_t)rate->last_bytes * sample->interval_us;
    if (!sample->mark.is_app_limited || rate->last_us == 0 ||
        (uint64_t)sample->delivered_bytes * rate->last_us >= before) {
        rate->last_bytes = sample->delivered_bytes;
        rate->last_us = sample->interval_us;
    }
}

/* Section 4.1.2.4: until all that is out now has arrived, rates are the program's. */
void tcp_rate_app_limited(struct tcb *tcb)
{
    if (tcb->board == NULL)
        return;
    struct tcp_rate *rate = &tcb->board->rate;
    rate->app_limited_bytes = max_u32(rate->delivered_bytes + tcp_pipe(tcb), 1);
}

uint64_t tcp_rate_bytes_per_s(const struct tcb *tcb)
{
    if (tcb->board == NULL || tcb->board->rate.last_us == 0)
        return 0;
    return (uint64_t)tcb->board->rate.last_bytes * 1000000u / tcb->board->rate.last_us;
}
