/*
 * Two hosts, bytes both ways at once over a wire that loses, duplicates, reorders, damages and
 * delays. What is sent arrives, in order and once; both ends close; nothing is left behind.
 */
#include <stdio.h>

#include "common/sim.h"
#include "common/stream.h"

#define PORT 7
/* TIME-WAIT, neighbours and all must be over by then; a path MTU that a black hole taught at the
 * very end is remembered for ten minutes (RFC 8201 section 4). */
#define MSL2_MAX_NS (700 * FOYER_NS_PER_S)

struct transfer {
    unsigned loss_percent;
    enum foyer_family family;
    uint32_t capabilities;
};

static uint64_t below(struct sim *sim, uint64_t bound)
{
    return random_below(&sim->random, bound);
}

static struct impair_config random_wire(struct sim *sim, unsigned loss_percent)
{
    struct impair_config config = {
        .loss_ppm = loss_percent * 10000,
        .delay_ns = below(sim, 4) == 0 ? 0 : 50000 + below(sim, 30 * FOYER_NS_PER_MS),
    };
    if (loss_percent > 0) {
        config.duplicate_ppm = (uint32_t)below(sim, 30000);
        config.reorder_ppm = (uint32_t)below(sim, 50000);
        config.damage_ppm = (uint32_t)below(sim, 10000);
        config.reorder_ns = below(sim, 10 * FOYER_NS_PER_MS);
        config.jitter_ns = below(sim, 5 * FOYER_NS_PER_MS);
    }
    if (below(sim, 3) == 0) {
        config.rate_bits_per_s = 5000000 + below(sim, 500000000);
        config.queue_bytes = 20000 + (size_t)below(sim, 500000);
    }
    return config;
}

static struct sim_host_config random_host(struct sim *sim, const struct transfer *transfer)
{
    static const uint16_t mtus[] = {1280, 1400, 1500, 9000};
    return (struct sim_host_config){
        .mtu = mtus[below(sim, 4)],
        .capabilities = transfer->capabilities,
        .receive_buffer_size = 8192u << below(sim, 6),
        .send_buffer_size = 8192u << below(sim, 6),
    };
}

static void random_program(struct sim *sim, struct stream *stream)
{
    stream->read_size = 1u << (4 + below(sim, 13));
    stream->write_size = 1u << (4 + below(sim, 13));
    if (below(sim, 4) == 0)
        stream->read_pause_ns = below(sim, 20 * FOYER_NS_PER_MS);
    stream->waits_for_closed = below(sim, 2) == 0;
    stream->to_send = below(sim, 5) == 0 ? below(sim, 3) : below(sim, 400000);
    /* A slow reader of single bytes would take for ever. */
    if (stream->read_pause_ns > 0 && stream->read_size < 4096)
        stream->read_size = 4096;
}

static void run_transfer(struct sim *sim, const void *argument)
{
    const struct transfer *transfer = argument;
    struct sim_host_config config_a = random_host(sim, transfer);
    struct sim_host_config config_b = random_host(sim, transfer);
    /* One wire has one MTU; there is no router here to say "too big". */
    config_b.mtu = config_a.mtu;
    struct sim_host *a = sim_add_host(sim, &config_a);
    struct sim_host *b = sim_add_host(sim, &config_b);
    struct impair_config from_a = random_wire(sim, transfer->loss_percent);
    struct impair_config from_b = random_wire(sim, transfer->loss_percent);
    sim_add_wire(sim, a, b, &from_a, &from_b);

    struct stream client = {.retries = 5}, server = {0};
    struct stream *all[] = {&client, &server};
    struct stream *accepts[] = {&server};
    struct listener listener = {.accepts = accepts, .accept_count = 1};
    struct streams streams = {.sim = sim, .all = all, .count = 2, .listener = &listener};
    random_program(sim, &client);
    random_program(sim, &server);
    client.send_pattern = server.receive_pattern = random_u64(&sim->random);
    server.send_pattern = client.receive_pattern = random_u64(&sim->random);
    client.to_receive = server.to_send;
    server.to_receive = client.to_send;
    server.user = 2;
    sim->app = streams_app(&streams);

    listener_open(&listener, b, transfer->family, PORT, 8);
    struct foyer_endpoint remote = sim_endpoint(b, transfer->family, PORT);
    stream_connect(&client, a, transfer->family, &remote, 1);
    sim_run_until(sim, streams_done, &streams, 3600 * FOYER_NS_PER_S, "the transfer");
    SIM_CHECK(sim, client.received == client.to_receive && server.received == server.to_receive);

    SIM_CHECK(sim, foyer_socket_close(b->host, listener.socket, sim->now) == 0);
    listener.host = NULL;
    sim_run_out(sim, MSL2_MAX_NS);
    SIM_CHECK(sim, sim_socket_count(a) == 0);
    SIM_CHECK(sim, sim_socket_count(b) == 0);
}

int main(int argc, char **argv)
{
    static const unsigned losses[] = {0, 1, 3, 5, 10};
    static const struct {
        const char *name;
        uint32_t capabilities;
    } links[] = {
        {"plain", 0},
        {"checksum", FOYER_LINK_TX_CHECKSUM},
        {"tso", FOYER_LINK_TX_CHECKSUM | FOYER_LINK_TSO4 | FOYER_LINK_TSO6},
    };
    struct sim_options options = {.fixed_seeds = 3, .fresh_seeds = 2};
    sim_options_parse(&options, argc, argv);
    for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
        for (size_t j = 0; j < sizeof(links) / sizeof(links[0]); j++) {
            for (int v6 = 0; v6 < 2; v6++) {
                struct transfer transfer = {losses[i], v6 ? FOYER_FAMILY_V6 : FOYER_FAMILY_V4,
                                            links[j].capabilities};
                char name[64];
                snprintf(name, sizeof(name), "v%d_%s_loss%u", v6 ? 6 : 4, links[j].name, losses[i]);
                sim_run_seeds(&options, name, run_transfer, &transfer);
            }
        }
    }
    return 0;
}
