/* SPDX-License-Identifier: Apache-2.0 */
/* Modules: variables, functions and kernels of a PTX text. */
#include "regression/emulator/ptx/reader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void blank_comments(char *text)
{
    for (char *p = text; *p; p++) {
        if (*p == '"') {
            for (p++; *p && *p != '"' && *p != '\n';)
                p++;
            if (!*p) return;
        } else if (p[0] == '/' && p[1] == '/') {
            for (; *p && *p != '\n'; p++)
                *p = ' ';
            if (!*p) return;
        } else if (p[0] == '/' && p[1] == '*') {
            char *end = strstr(p + 2, "*/");
            end = end ? end + 2 : p + strlen(p);
            for (; p < end; p++)
                if (*p != '\n') *p = ' ';
            p--;
        }
    }
}

static void rest_of_line(struct ptx_reader *reader)
{
    while (*reader->at && *reader->at != '\n')
        reader->at++;
}

/* Parameters of a kernel, whose ( has been passed. */
static bool kernel_parameters(struct ptx_reader *reader, struct ptx_kernel *kernel)
{
    int room = 0;
    uint32_t at = 0;
    if (ptx_accept(reader, ")")) return true;
    do {
        struct ptx_symbol symbol;
        if (!ptx_expect(reader, ".param") ||
            !ptx_declare_variable(reader, PTX_KERNEL_PARAMETER, &symbol))
            return false;
        at = (at + symbol.align - 1) / symbol.align * symbol.align;
        symbol.value = at;
        *PTX_APPEND(kernel->parameters, kernel->parameter_count, room) =
            (struct ptx_parameter){at, symbol.bytes};
        *PTX_APPEND(reader->symbols, reader->symbol_count, reader->symbol_room) = symbol;
        at += symbol.bytes;
    } while (ptx_accept(reader, ","));
    kernel->parameter_bytes = at;
    return ptx_expect(reader, ")");
}

/* What stands between a kernel's parameters and its body. */
static bool performance(struct ptx_reader *reader, struct ptx_kernel *kernel)
{
    const char *word;
    for (;;) {
        bool most = ptx_accept(reader, ".maxntid");
        if (!most && !ptx_accept(reader, ".minnctapersm") && !ptx_accept(reader, ".maxnreg"))
            return true;
        uint64_t product = 1, value;
        do {
            size_t length = ptx_word(reader, &word);
            if (!ptx_number(word, length, &value))
                return ptx_refuse(reader, "no number of a limit");
            product *= value;
        } while (ptx_accept(reader, ","));
        if (most) kernel->threads_most = (uint32_t)product;
    }
}

/* What a kernel was read with, from its constants to its labels. */
static void forget(struct ptx_reader *reader)
{
    for (int k = 0; k < reader->instance_count; k++)
        free(reader->instances[k].formals);
    reader->instance_count = reader->label_count = reader->fixup_count = reader->instance = 0;
    reader->code_room = reader->constant_room = reader->slot_room = 0;
    reader->dynamic_slot = -1;
    reader->placed_count = 0;
}

static bool resolve(struct ptx_reader *reader)
{
    struct ptx_kernel *kernel = reader->kernel;
    for (int k = 0; k < reader->fixup_count; k++) {
        const struct ptx_fixup *fixup = &reader->fixups[k];
        int index = fixup->index;
        if (fixup->name) {
            for (int l = index = 0; l < reader->label_count; l++) {
                const struct ptx_label *label = &reader->labels[l];
                if (label->instance == fixup->instance && label->length == fixup->length &&
                    memcmp(label->name, fixup->name, fixup->length) == 0)
                    index = label->index + 1;
            }
            reader->line = fixup->line;
            if (index-- == 0)
                return ptx_refuse(reader, "no label \"%.*s\"", (int)fixup->length, fixup->name);
        } else if (fixup->instance > 0) {
            index = reader->instances[fixup->instance - 1].entry;
        }
        kernel->code[fixup->instruction].target = &kernel->code[index];
    }
    /* Dynamic shared memory follows what is declared. */
    if (reader->dynamic_slot >= 0) kernel->shared_bytes = (kernel->shared_bytes + 15) / 16 * 16;
    for (int k = 0; k < kernel->constant_count; k++)
        if ((int)kernel->constant_slots[k] == reader->dynamic_slot)
            kernel->constants[k].u64 = kernel->shared_bytes;
    return true;
}

static void narrowest(struct ptx_kernel *kernel)
{
    kernel->shared_granule = kernel->global_granule = 4;
    for (int k = 0; k < kernel->code_count; k++) {
        const struct ptx_instruction *i = &kernel->code[k];
        bool generic = i->space == PTX_GENERIC;
        if (i->bytes == 0) continue;
        if ((generic || i->space == PTX_SHARED) && i->bytes < kernel->shared_granule)
            kernel->shared_granule = i->bytes;
        if ((generic || i->space == PTX_GLOBAL) && i->bytes < kernel->global_granule)
            kernel->global_granule = i->bytes;
    }
}

/* .entry has been passed. */
static bool read_kernel(struct ptx_reader *reader)
{
    const char *word;
    size_t length = ptx_word(reader, &word);
    struct ptx_kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel || !(kernel->name = strndup(word, length))) abort();
    kernel->module = reader->module;
    kernel->next = reader->module->kernels;
    reader->module->kernels = kernel;
    kernel->slot_count = PTX_SPECIALS;
    reader->kernel = kernel;
    int before = reader->symbol_count;
    forget(reader);
    if (ptx_accept(reader, "(") && !kernel_parameters(reader, kernel)) return false;
    if (!performance(reader, kernel) || !ptx_read_body(reader)) return false;
    const char *after = reader->at;
    uint32_t line = reader->line;
    /* Functions that it calls, and those that they call. */
    for (int k = 0; k < reader->instance_count; k++) {
        const struct ptx_instance *instance = &reader->instances[k];
        reader->instance = k + 1;
        reader->instances[k].entry = kernel->code_count;
        reader->at = instance->function->body;
        reader->line = instance->function->line;
        int symbols = reader->symbol_count;
        for (int p = 0; p < instance->result_count + instance->parameter_count; p++)
            *PTX_APPEND(reader->symbols, reader->symbol_count, reader->symbol_room) =
                instance->formals[p];
        if (!ptx_read_body(reader)) return false;
        reader->symbol_count = symbols;
    }
    reader->symbol_count = before;
    if (!resolve(reader)) return false;
    narrowest(kernel);
    reader->at = after;
    reader->line = line;
    return true;
}

/* .func has been passed: results, name, parameters, and a body or nothing. */
static bool note_function(struct ptx_reader *reader)
{
    struct ptx_function function = {0};
    if (ptx_accept(reader, "(")) {
        function.results = reader->at--;
        ptx_skip_group(reader, '(', ')');
    }
    function.length = ptx_word(reader, &function.name);
    if (ptx_accept(reader, "(")) {
        function.parameters = reader->at--;
        ptx_skip_group(reader, '(', ')');
    }
    if (ptx_accept(reader, ".noreturn") && ptx_accept(reader, ";")) return true;
    if (ptx_accept(reader, ";")) return true;
    ptx_space(reader);
    function.body = reader->at;
    function.line = reader->line;
    if (*function.body != '{') return ptx_refuse(reader, "a function without a body");
    *PTX_APPEND(reader->functions, reader->function_count, reader->function_room) = function;
    ptx_skip_group(reader, '{', '}');
    return true;
}

/* Kernels are only passed over, unless `kernels`: then all others are. */
static bool statement(struct ptx_reader *reader, bool kernels)
{
    const char *word;
    while (ptx_accept(reader, ".visible") || ptx_accept(reader, ".weak") ||
           ptx_accept(reader, ".extern"))
        ;
    ptx_space(reader);
    const char *before = reader->at;
    size_t length = ptx_word(reader, &word);
    if (ptx_same(word, length, ".entry")) {
        if (kernels) return read_kernel(reader);
        while (*reader->at && *reader->at != '{')
            if (*reader->at++ == '\n') reader->line++;
        ptx_skip_group(reader, '{', '}');
    } else if (ptx_same(word, length, ".func")) {
        if (!kernels) return note_function(reader);
        while (*reader->at && *reader->at != '{' && *reader->at != ';')
            if (*reader->at++ == '\n') reader->line++;
        if (*reader->at == ';')
            reader->at++;
        else
            ptx_skip_group(reader, '{', '}');
    } else if (ptx_same(word, length, ".section")) {
        ptx_skip_group(reader, '{', '}');
    } else if (ptx_same(word, length, ".version") || ptx_same(word, length, ".file")) {
        rest_of_line(reader);
    } else if (ptx_same(word, length, ".target")) {
        length = ptx_word(reader, &word);
        if (length < 5 || strncmp(word, "sm_", 3) != 0)
            return ptx_refuse(reader, "target \"%.*s\" is not known", (int)length, word);
        ptx_space(reader);
        if (*reader->at == ',') return ptx_refuse(reader, "an option of the target is not known");
    } else if (ptx_same(word, length, ".address_size")) {
        return ptx_expect(reader, "64");
    } else if (ptx_same(word, length, ".global") || ptx_same(word, length, ".const") ||
               ptx_same(word, length, ".shared")) {
        reader->at = before;
        if (!kernels) return ptx_declare_module(reader);
        while (*reader->at && *reader->at != ';')
            if (*reader->at++ == '\n') reader->line++;
        if (*reader->at) reader->at++;
    } else {
        return ptx_refuse(reader, "\"%.*s\" is not known", (int)length, word);
    }
    return !reader->failed;
}

static bool statements(struct ptx_reader *reader, bool kernels)
{
    reader->at = reader->text;
    reader->line = 1;
    for (ptx_space(reader); *reader->at; ptx_space(reader))
        if (!statement(reader, kernels)) return false;
    return true;
}

/* Variables get their place, and addresses of variables their value. */
static void place_variables(struct ptx_reader *reader)
{
    struct ptx_module *module = reader->module;
    module->global_bytes = (reader->variables[0].count + 255) / 256 * 256;
    module->variable_bytes = module->global_bytes + reader->variables[1].count;
    module->variables = aligned_alloc(256, (module->variable_bytes + 511) / 256 * 256);
    if (!module->variables) abort();
    for (int constant = 0; constant < 2; constant++)
        if (reader->variables[constant].count > 0)
            memcpy(module->variables + (constant ? module->global_bytes : 0),
                   reader->variables[constant].bytes, reader->variables[constant].count);
    for (int k = 0; k < reader->pointer_count; k++) {
        const struct ptx_pointer *pointer = &reader->pointers[k];
        uint64_t address = (uint64_t)(uintptr_t)module->variables + pointer->value +
                           (pointer->to_constant ? module->global_bytes : 0);
        memcpy(module->variables + pointer->place + (pointer->constant ? module->global_bytes : 0),
               &address, sizeof address);
    }
}

static void module_free(struct ptx_module *module)
{
    for (struct ptx_kernel *kernel = module->kernels, *next; kernel; kernel = next) {
        next = kernel->next;
        free(kernel->name);
        free(kernel->parameters);
        free(kernel->code);
        free(kernel->constant_slots);
        free(kernel->constants);
        free(kernel);
    }
    free(module->variables);
    free(module);
}

/* Modules that have been loaded, which stay. */
static void keep(struct ptx_module *module)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct ptx_module *kept;
    pthread_mutex_lock(&lock);
    module->next = kept;
    kept = module;
    pthread_mutex_unlock(&lock);
}

struct ptx_module *ptx_load(const char *text, char *error, size_t size)
{
    struct ptx_reader reader = {.error = error, .error_size = size, .dynamic_slot = -1};
    reader.text = strdup(text);
    reader.module = calloc(1, sizeof *reader.module);
    if (!reader.text || !reader.module) abort();
    blank_comments(reader.text);
    bool fine = statements(&reader, false);
    if (fine) place_variables(&reader);
    fine = fine && statements(&reader, true) && !reader.failed;
    forget(&reader);
    free(reader.text);
    free(reader.symbols);
    free(reader.functions);
    free(reader.variables[0].bytes);
    free(reader.variables[1].bytes);
    free(reader.pointers);
    free(reader.instances);
    free(reader.labels);
    free(reader.fixups);
    free(reader.placed);
    if (!fine)
        module_free(reader.module);
    else
        keep(reader.module);
    return fine ? reader.module : NULL;
}

struct ptx_kernel *ptx_find(struct ptx_module *module, const char *name)
{
    struct ptx_kernel *kernel = module->kernels;
    while (kernel && strcmp(kernel->name, name) != 0)
        kernel = kernel->next;
    return kernel;
}

int ptx_parameter_count(const struct ptx_kernel *kernel)
{
    return kernel->parameter_count;
}

size_t ptx_parameter_bytes(const struct ptx_kernel *kernel, int parameter)
{
    return kernel->parameters[parameter].bytes;
}

size_t ptx_shared_bytes(const struct ptx_kernel *kernel)
{
    return kernel->shared_bytes;
}
