/* SPDX-License-Identifier: Apache-2.0 */
/* Machine files: values with and without units, what is assumed, what is refused and how it is
 * said, and what a rank has of its node. */
#include "plan/machine.h"

#include <stdbool.h>
#include <string.h>

#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

static struct capture messages;

static enum zi_status parse(const char *text, struct plan_node *node)
{
    plan_node_assume(node);
    capture_begin(&messages, stderr);
    enum zi_status status = plan_node_parse(text, strlen(text), "m.yaml", node);
    capture_end(&messages);
    return status;
}

static void test_values(void)
{
    struct plan_node node, assumed;
    plan_node_assume(&assumed);
    CHECK_INT(parse("machine:\n"
                    "  flops_fp32: 150 GFLOP/s\n"
                    "  flops_bf16: 2.5e11\n"
                    "  memory_bytes_per_s: \"12 GB/s\"\n"
                    "  disk_read_bytes_per_s: 1.6 GB/s # measured\n"
                    "  disk_write_bytes_per_s: 800MB/s\n"
                    "  link_bytes_per_s: 2 GiB/s\n",
                    &node),
              ZI_OK);
    CHECK_NEAR(node.rates[RATE_FLOPS_FP32], 150e9, 1);
    CHECK_NEAR(node.rates[RATE_FLOPS_BF16], 250e9, 1);
    CHECK_NEAR(node.rates[RATE_MEMORY], 12e9, 1);
    CHECK_NEAR(node.rates[RATE_DISK_READ], 1.6e9, 1);
    CHECK_NEAR(node.rates[RATE_DISK_WRITE], 0.8e9, 1);
    CHECK_NEAR(node.rates[RATE_LINK], 0x1p31, 1);
    CHECK_NEAR(node.rates[RATE_DISK_MIXED], 1.2e9, 1); /* not given: their mean */
    CHECK(!node.given[RATE_DISK_MIXED] && node.given[RATE_LINK]);
    CHECK_NEAR(node.rates[RATE_NETWORK], assumed.rates[RATE_NETWORK], 0);
    CHECK(!node.given[RATE_NETWORK]);
    for (int size = 0; size < PLAN_SIZE_COUNT; size++)
        CHECK_INT(node.sizes[size], 0);
    CHECK_INT(parse("machine: {disk_read_bytes_per_s: 1e9, disk_write_bytes_per_s: 1e9,\n"
                    "          disk_mixed_bytes_per_s: 7e8}\n",
                    &node),
              ZI_OK);
    CHECK_NEAR(node.rates[RATE_DISK_MIXED], 7e8, 1);
    CHECK(node.given[RATE_DISK_MIXED]);
}

/* What a node has: a count, and bytes in either kind of unit. */
static void test_sizes(void)
{
    struct plan_node node;
    CHECK_INT(parse("machine:\n"
                    "  devices: 16\n"
                    "  device_memory: 32 GiB\n"
                    "  host_memory: 1.5 TiB\n"
                    "  disk_space: 30.72 TB\n"
                    "  device_bytes_per_s: 9.6 TB/s\n"
                    "  network_bytes_per_s: 70 GB/s\n",
                    &node),
              ZI_OK);
    CHECK_INT(node.sizes[SIZE_DEVICES], 16);
    CHECK_INT(node.sizes[SIZE_DEVICE_MEMORY], (int64_t)32 << 30);
    CHECK_INT(node.sizes[SIZE_HOST_MEMORY], (int64_t)3 << 39);
    CHECK_INT(node.sizes[SIZE_DISK_SPACE], 30720000000000);
    CHECK_NEAR(node.rates[RATE_DEVICE], 9.6e12, 1);
    CHECK_NEAR(node.rates[RATE_NODE_NETWORK], 70e9, 1); /* not given: that to other nodes */
    CHECK(node.given[RATE_DEVICE] && !node.given[RATE_NODE_NETWORK]);
    CHECK_INT(parse("machine: {node_network_bytes_per_s: 2 TB/s}\n", &node), ZI_OK);
    CHECK_NEAR(node.rates[RATE_NODE_NETWORK], 2e12, 1);
}

/* What a checkpoint can have at most: said by its own rate, or on one node by that of the disk. */
static void test_file_rate(void)
{
    struct plan_node node;
    double rate = -1;
    CHECK_INT(parse("machine: {disk_read_bytes_per_s: 3e9}\n", &node), ZI_OK);
    CHECK(!plan_node_file_rate(&node, 1, &rate) && rate == -1);
    CHECK_INT(parse("machine: {disk_write_bytes_per_s: 2e9}\n", &node), ZI_OK);
    CHECK(strcmp(plan_node_file_rate(&node, 1, &rate), "disk_write_bytes_per_s") == 0);
    CHECK_NEAR(rate, 2e9, 0);
    CHECK(!plan_node_file_rate(&node, 2, &rate));
    CHECK_INT(parse("machine: {disk_write_bytes_per_s: 2e9, file_bytes_per_s: 5e8}\n", &node),
              ZI_OK);
    CHECK(strcmp(plan_node_file_rate(&node, 4, &rate), "file_bytes_per_s") == 0);
    CHECK_NEAR(rate, 2e9, 0);
}

static void refuse(const char *text, const char *message)
{
    struct plan_node node;
    CHECK_INT(parse(text, &node), ZI_ERROR_USAGE);
    if (strstr(messages.text, message)) return;
    fprintf(stderr, "not said: %s; but: %s", message, messages.text);
    CHECK(false);
}

static void test_refused(void)
{
    refuse("machine: {link_bytes_per_s: 10 Gbit/s}\n", "m.yaml:1:29: machine.link_bytes_per_s");
    refuse("machine: {link_bytes_per_s: 10 GB}\n", "1.6 GB/s");
    refuse("machine: {flops_fp32: 10 GB/s}\n", "GFLOP/s");
    refuse("machine: {link_bytes_per_s: 0}\n", "larger than 0");
    refuse("machine: {link_bytes_per_s: -1}\n", "larger than 0");
    refuse("machine: {link_bytes_per_s: nan}\n", "'nan'");
    refuse("machine: {link_bytes_per_s: inf}\n", "'inf'");
    refuse("machine: {link_bytes_per_s: 0x10}\n", "0x10");
    refuse("machine: {link_bytes_per_s: 1e999}\n", "1e999");
    refuse("machine: {link_bytes_per_s: }\n", "larger than 0");
    refuse("machine: {link_bytes_per_s: [1]}\n", "no single value");
    refuse("machine: {link_byte_per_s: 1e9}\n", "nearest: link_bytes_per_s");
    refuse("machine: {link_bytes_per_s: 1, link_bytes_per_s: 2}\n", "duplicate");
    refuse("machines: {link_bytes_per_s: 1}\n", "`machine:`");
    refuse("machine: 3\n", "`machine:`");
    refuse("machine: {}\nmodel: {}\n", "`machine:`");
    refuse("", "`machine:`");
    refuse("machine: {devices: 0}\n", "m.yaml:1:20: machine.devices: found '0', expected a whole "
                                      "number larger than 0 and at most 4096");
    refuse("machine: {devices: 1.5}\n", "whole number");
    refuse("machine: {devices: -8}\n", "whole number");
    refuse("machine: {devices: 8 GB}\n", "whole number");
    refuse("machine: {devices: 8k}\n", "whole number");
    refuse("machine: {devices: 4097}\n", "at most 4096");
    refuse("machine: {device_memory: 80 GB/s}\n", "as 1.6 GB or 1.6e9");
    refuse("machine: {disk_space: 1e19}\n", "at most 1e+18");
    refuse("machine: {disc_space: 1e9}\n", "nearest: disk_space");
    refuse("machine: {a: 1, b: 2\n", "m.yaml");
    refuse("machine: {flops_fp32: no,\n  disk_read_bytes_per_s: no}\n", "m.yaml:2:26");
    CHECK(strstr(messages.text, "m.yaml:1:23")); /* all errors at once */
}

/* A program in `type` for so many ranks on nodes of so many, on a processor or on devices. */
static struct zero_config config_of(enum zi_dtype type, int ranks, int node_ranks, bool unified)
{
    return (struct zero_config){
        .compute = type, .ranks = ranks, .node = {.ranks = node_ranks}, .unified = unified};
}

static void test_share(void)
{
    struct plan_node node;
    struct plan_machine one, four;
    const struct zero_config alone = config_of(ZI_BF16, 1, 1, true);
    const struct zero_config of_four = config_of(ZI_FP32, 4, 4, true);
    plan_node_assume(&node);
    node.rates[RATE_FLOPS_FP32] = 1e11;
    node.rates[RATE_FLOPS_BF16] = 3e11;
    node.rates[RATE_DISK_READ] = 4;
    node.rates[RATE_DISK_WRITE] = 2;
    node.rates[RATE_DISK_MIXED] = 3;
    plan_machine_of(&node, &alone, SUM_ORDERED, &one);
    plan_machine_of(&node, &of_four, SUM_ORDERED, &four);
    CHECK_NEAR(one.flops_per_s, 3e11, 1);
    CHECK_NEAR(four.flops_per_s, 1e11 / 4, 1);
    CHECK_NEAR(four.bytes_per_s[LANE_COMM], node.rates[RATE_NETWORK] / 4, 1);
    CHECK_NEAR(four.bytes_per_s[LANE_LINK_OUT], node.rates[RATE_LINK] / 4, 1);
    CHECK_NEAR(four.bytes_per_s[LANE_HOST], node.rates[RATE_MEMORY] / 4, 1);
    CHECK_NEAR(four.bytes_per_s[LANE_COMPUTE], node.rates[RATE_MEMORY] / 4, 1);
    CHECK_NEAR(four.reduce_bytes_per_s, node.rates[RATE_NETWORK] / 4, 1);
    CHECK_NEAR(plan_machine_mixed(&one, LANE_DISK_READ), 2, 1e-12);
    CHECK_NEAR(plan_machine_mixed(&one, LANE_DISK_WRITE), 1, 1e-12);
    CHECK_NEAR(plan_machine_mixed(&four, LANE_DISK_READ), 0.5, 1e-12);
}

/* A rank has the rates of its own device, and its share of what the ranks of a node have in common. */
static void test_devices(void)
{
    struct plan_node node;
    struct plan_machine machine;
    plan_node_assume(&node);
    node.sizes[SIZE_DEVICES] = 8;
    node.rates[RATE_FLOPS_BF16] = 8e15;
    node.rates[RATE_DEVICE] = 16e12;
    node.rates[RATE_MEMORY] = 4e11;
    node.rates[RATE_LINK] = 4e11;
    const struct zero_config full = config_of(ZI_BF16, 8, 8, false);
    plan_machine_of(&node, &full, SUM_ORDERED, &machine);
    CHECK_NEAR(machine.flops_per_s, 1e15, 1);
    CHECK_NEAR(machine.bytes_per_s[LANE_COMPUTE], 2e12, 1);
    CHECK_NEAR(machine.bytes_per_s[LANE_HOST], 5e10, 1);
    CHECK_NEAR(machine.bytes_per_s[LANE_LINK_IN], 5e10, 1);
    const struct zero_config two = config_of(ZI_BF16, 2, 2, false);
    plan_machine_of(&node, &two, SUM_ORDERED, &machine);
    CHECK_NEAR(machine.flops_per_s, 1e15, 1);
    CHECK_NEAR(machine.bytes_per_s[LANE_COMPUTE], 2e12, 1);
    CHECK_NEAR(machine.bytes_per_s[LANE_HOST], 2e11, 1);
    CHECK_NEAR(machine.bytes_per_s[LANE_LINK_OUT], 5e10, 1);
}

/* Collectives, on one node and on several, in a ring and as an exchange. */
static void test_collectives(void)
{
    struct plan_node node;
    struct plan_machine machine;
    plan_node_assume(&node);
    node.sizes[SIZE_DEVICES] = 8;
    node.rates[RATE_NODE_NETWORK] = 2400;
    node.rates[RATE_NETWORK] = 200;
    const struct zero_config inside = config_of(ZI_BF16, 8, 8, false);
    plan_machine_of(&node, &inside, SUM_ORDERED, &machine);
    CHECK_NEAR(machine.bytes_per_s[LANE_COMM], 300, 1e-9);
    CHECK_NEAR(machine.reduce_bytes_per_s, 300, 1e-9);
    const struct zero_config across = config_of(ZI_BF16, 16, 8, false);
    plan_machine_of(&node, &across, SUM_ORDERED, &machine);
    CHECK_NEAR(machine.bytes_per_s[LANE_COMM], 200, 1e-9);
    CHECK_NEAR(machine.reduce_bytes_per_s, 25, 1e-9);
    plan_machine_of(&node, &across, SUM_LIBRARY, &machine);
    CHECK_NEAR(machine.reduce_bytes_per_s, 200, 1e-9);
    node.rates[RATE_NODE_NETWORK] = 800; /* the slower of both */
    plan_machine_of(&node, &across, SUM_ORDERED, &machine);
    CHECK_NEAR(machine.bytes_per_s[LANE_COMM], 100, 1e-9);
    CHECK_NEAR(machine.reduce_bytes_per_s, 25, 1e-9);
    const struct zero_config apart =
        config_of(ZI_BF16, 16, 1, false); /* none meets another inside */
    plan_machine_of(&node, &apart, SUM_ORDERED, &machine);
    CHECK_NEAR(machine.bytes_per_s[LANE_COMM], 200, 1e-9);
    CHECK_NEAR(machine.reduce_bytes_per_s, 200, 1e-9);
    const struct zero_config host = config_of(ZI_BF16, 16, 8, true); /* all is exchanged */
    plan_machine_of(&node, &host, SUM_LIBRARY, &machine);
    CHECK_NEAR(machine.bytes_per_s[LANE_COMM], 25, 1e-9);
    CHECK_NEAR(machine.reduce_bytes_per_s, 25, 1e-9);
}

/* What a list does not use is not asked for, nor what is given. */
static void test_lacks(void)
{
    struct program_op ops[] = {{.lane = LANE_COMPUTE, .flops = 1},
                               {.lane = LANE_LINK_IN, .bytes = 1},
                               {.lane = LANE_DISK_READ, .bytes = 0},
                               {.lane = LANE_LINK_OUT, .bytes = 7}};
    const struct program_list list = {.ops = ops, .count = 4};
    const struct zero_config bf16 = config_of(ZI_BF16, 1, 1, false);
    const struct zero_config fp32 = config_of(ZI_FP32, 1, 1, false);
    struct plan_node node;
    char text[128];
    plan_node_assume(&node);
    CHECK_INT(plan_node_lacks(&node, &list, &bf16, text, sizeof text), 2);
    CHECK(strcmp(text, "flops_bf16, link_bytes_per_s") == 0);
    node.given[RATE_LINK] = true;
    CHECK_INT(plan_node_lacks(&node, &list, &fp32, text, sizeof text), 1);
    CHECK(strcmp(text, "flops_fp32") == 0);
    node.given[RATE_FLOPS_FP32] = true;
    CHECK_INT(plan_node_lacks(&node, &list, &fp32, text, sizeof text), 0);
    CHECK(text[0] == 0);
}

/* Of the memories and networks those that are gone through by these ranks. */
static void test_lacks_media(void)
{
    struct program_op ops[] = {{.lane = LANE_COMPUTE, .bytes = 1}, {.lane = LANE_COMM, .bytes = 1}};
    const struct program_list list = {.ops = ops, .count = 2};
    static const struct {
        int ranks, node_ranks;
        bool unified;
        const char *lacks;
    } cases[] = {
        {4, 4, false, "device_bytes_per_s, node_network_bytes_per_s"},
        {8, 4, false, "device_bytes_per_s, node_network_bytes_per_s, network_bytes_per_s"},
        {8, 1, false, "device_bytes_per_s, network_bytes_per_s"},
        {8, 1, true, "memory_bytes_per_s, network_bytes_per_s"},
    };
    struct plan_node node;
    char text[128];
    plan_node_assume(&node);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct zero_config config =
            config_of(ZI_BF16, cases[i].ranks, cases[i].node_ranks, cases[i].unified);
        plan_node_lacks(&node, &list, &config, text, sizeof text);
        CHECK(strcmp(text, cases[i].lacks) == 0);
    }
}

int main(void)
{
    test_values();
    test_sizes();
    test_file_rate();
    test_refused();
    test_share();
    test_devices();
    test_collectives();
    test_lacks();
    test_lacks_media();
    return test_finish("plan_machine");
}
