/* SPDX-License-Identifier: Apache-2.0 */
/* The table of operation kinds for people, made from its rows. */
#include <inttypes.h>
#include <string.h>

#include "program/row.h"

static const char *const type_names[TYPE_COUNT] = {
    [TYPE_BYTES] = "bytes", [TYPE_COMPUTE] = "compute", [TYPE_WEIGHTS] = "as kept",
    [TYPE_FP32] = "fp32",   [TYPE_INT32] = "int32",     [TYPE_SUMS] = "sums",
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

static void print_operand(const struct operand_row *row, enum program_operand operand,
                          bool optional, FILE *out)
{
    const char *type = type_names[row->type];
    if (row->type == TYPE_STATE)
        type = tier_type_name(tier_kind_row((enum tier_kind)(operand - OPERAND_STATE))->type);
    fprintf(out, "%s%s%s%s %s%s%s", optional ? "[" : "", program_operand_name(operand),
            access_sign(row->access), row->access & SEVERAL ? "..." : "", type,
            tier_text(row->tiers), optional ? "]" : "");
}

/* "from< bytes nvme, to> bytes memory" */
static void print_operands(const struct kind_row *row, FILE *out)
{
    const char *comma = "";
    for (int i = 0; i < ROW_OPERANDS && row->operands[i].access; i++) {
        const struct operand_row *o = &row->operands[i];
        bool states = o->access & STATES;
        for (int k = 0; k < (states ? TIER_KIND_COUNT : 1); k++) {
            enum tier_kind kind = (enum tier_kind)k;
            if (states && !row_has_state(kind)) continue;
            bool optional =
                o->access & OPTIONAL || (states && tier_kind_row(kind)->owner == TIER_SPLIT_UNITS);
            fputs(comma, out);
            print_operand(o, (enum program_operand)((int)o->operand + k), optional, out);
            comma = ", ";
        }
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
