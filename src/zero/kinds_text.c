/* SPDX-License-Identifier: Apache-2.0 */
/* The table of operation kinds for people, made from its rows. */
#include <inttypes.h>
#include <string.h>

#include "zero/row.h"

static const char *const type_names[TYPE_COUNT] = {
    [TYPE_BYTES] = "bytes", [TYPE_COMPUTE] = "compute", [TYPE_GRADIENT] = "gradient",
    [TYPE_FP32] = "fp32",   [TYPE_INT32] = "int32",     [TYPE_INT16] = "int16",
    [TYPE_SUMS] = "sums",
};

static const char *access_sign(unsigned access)
{
    switch (access & ACCESS_MASK) {
    case ACCESS_READ:
        return "<";
    case ACCESS_WRITE:
        return ">";
    case ACCESS_CHANGE:
        return "=";
    case ACCESS_ADD:
        return "+";
    default:
        return "~";
    }
}

static const char *tier_text(unsigned tiers)
{
    switch (tiers) {
    case IN_DEVICE:
        return " device";
    case IN_HOST:
        return " host";
    case IN_STORE:
        return " nvme";
    case IN_HOST | IN_STORE:
        return " host or nvme";
    case IN_MEMORY:
        return " memory";
    default:
        return "";
    }
}

/* "from< bytes nvme, to> bytes memory" */
static void print_operands(const struct kind_row *row, FILE *out)
{
    for (int i = 0; i < ROW_OPERANDS && row->operands[i].access; i++) {
        const struct operand_row *o = &row->operands[i];
        fprintf(out, "%s%s%s%s%s %s%s", i ? ", " : "", o->access & OPTIONAL ? "[" : "",
                program_operand_name(o->operand), access_sign(o->access),
                o->access & SEVERAL ? "..." : "", type_names[o->type], tier_text(o->tiers));
        if (o->access & OPTIONAL) fputc(']', out);
    }
}

void program_kinds_print(FILE *out)
{
    fprintf(out, "Operations of the step program. Operands: < read, > written, = both, + written "
                 "or added\nto, ~ any of these; [] where not always there, ... one per unit.\n");
    for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
        const struct kind_row *row = program_kind_row((enum program_kind)kind);
        fprintf(out, "\n%s: %s\n  lane      %s\n  operands  ",
                program_kind_name((enum program_kind)kind), row->help, row->lane->text);
        print_operands(row, out);
        fprintf(out, "\n  bytes     %s\n  FLOPs     %s\n", row->cost->bytes, row->cost->flops);
    }
}

void program_kinds_write_markdown(FILE *out)
{
    fprintf(out, "| operation | what it does | lane | operands | bytes | FLOPs | colour |\n"
                 "|---|---|---|---|---|---|---|\n");
    for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
        const struct kind_row *row = program_kind_row((enum program_kind)kind);
        fprintf(out, "| `%s` | %s | %s | ", program_kind_name((enum program_kind)kind), row->help,
                row->lane->text);
        print_operands(row, out);
        fprintf(out, " | %s | %s | %s |\n", row->cost->bytes, row->cost->flops, row->colour);
    }
}
