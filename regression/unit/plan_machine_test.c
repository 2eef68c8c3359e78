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
    CHECK_INT(parse("machine: {disk_read_bytes_per_s: 1e9, disk_write_bytes_per_s: 1e9,\n"
                    "          disk_mixed_bytes_per_s: 7e8}\n",
                    &node),
              ZI_OK);
    CHECK_NEAR(node.rates[RATE_DISK_MIXED], 7e8, 1);
    CHECK(node.given[RATE_DISK_MIXED]);
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
    refuse("machine: {a: 1, b: 2\n", "m.yaml");
    refuse("machine: {flops_fp32: no,\n  disk_read_bytes_per_s: no}\n", "m.yaml:2:26");
    CHECK(strstr(messages.text, "m.yaml:1:23")); /* all errors at once */
}

static void test_share(void)
{
    struct plan_node node;
    struct plan_machine one, four;
    plan_node_assume(&node);
    node.rates[RATE_FLOPS_FP32] = 1e11;
    node.rates[RATE_FLOPS_BF16] = 3e11;
    node.rates[RATE_DISK_READ] = 4;
    node.rates[RATE_DISK_WRITE] = 2;
    node.rates[RATE_DISK_MIXED] = 3;
    plan_machine_of(&node, ZI_BF16, 1, &one);
    plan_machine_of(&node, ZI_FP32, 4, &four);
    CHECK_NEAR(one.flops_per_s, 3e11, 1);
    CHECK_NEAR(four.flops_per_s, 1e11 / 4, 1);
    CHECK_NEAR(four.bytes_per_s[LANE_COMM], node.rates[RATE_NETWORK] / 4, 1);
    CHECK_NEAR(four.bytes_per_s[LANE_LINK_OUT], node.rates[RATE_LINK] / 4, 1);
    CHECK_NEAR(four.bytes_per_s[LANE_HOST], node.rates[RATE_MEMORY] / 4, 1);
    CHECK_NEAR(plan_machine_mixed(&one, LANE_DISK_READ), 2, 1e-12);
    CHECK_NEAR(plan_machine_mixed(&one, LANE_DISK_WRITE), 1, 1e-12);
    CHECK_NEAR(plan_machine_mixed(&four, LANE_DISK_READ), 0.5, 1e-12);
}

/* What a list does not use is not asked for, nor what is given. */
static void test_lacks(void)
{
    struct program_op ops[] = {{.lane = LANE_COMPUTE, .flops = 1},
                               {.lane = LANE_LINK_IN, .bytes = 1},
                               {.lane = LANE_DISK_READ, .bytes = 0},
                               {.lane = LANE_LINK_OUT, .bytes = 7}};
    const struct program_list list = {.ops = ops, .count = 4};
    struct plan_node node;
    char text[128];
    plan_node_assume(&node);
    CHECK_INT(plan_node_lacks(&node, &list, ZI_BF16, text, sizeof text), 2);
    CHECK(strcmp(text, "flops_bf16, link_bytes_per_s") == 0);
    node.given[RATE_LINK] = true;
    CHECK_INT(plan_node_lacks(&node, &list, ZI_FP32, text, sizeof text), 1);
    CHECK(strcmp(text, "flops_fp32") == 0);
    node.given[RATE_FLOPS_FP32] = true;
    CHECK_INT(plan_node_lacks(&node, &list, ZI_FP32, text, sizeof text), 0);
    CHECK(text[0] == 0);
}

int main(void)
{
    test_values();
    test_file_rate();
    test_refused();
    test_share();
    test_lacks();
    return test_finish("plan_machine");
}
