/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files of regression/goldens and the comparison with them.
 *
 * Tolerances come from the files: the deviation of PyTorch's own fp32 or bf16 run from float64,
 * times the file's attribute `factor`; its attribute `tolerance` says why. The largest share of a
 * tolerance that was seen is kept, to be printed.
 *
 * A comparison that accepts everything would pass too. So after each one, a value of the golden is
 * moved by ten tolerances, and the comparison must reject exactly that one. */
#ifndef ZI_REGRESSION_GOLDEN_FIXTURE_H
#define ZI_REGRESSION_GOLDEN_FIXTURE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/log.h"
#include "deck/deck.h"
#include "regression/unit/test.h"

#include <hdf5.h>

#define GOLDEN_CASES 13
static const char *const golden_cases[GOLDEN_CASES] = {
    "gpt2",  "gpt2_untied", "llama",   "llama_tied", "llama_3", "llama_dynamic", "mistral",
    "qwen2", "qwen3",       "smollm3", "olmo2",      "gemma2",  "gemma3"};

/* An open golden and where it is compared. */
struct golden {
    hid_t file;
    /* Tolerance over deviation. */
    double factor;
    char label[64];
    struct settings_model settings;
    struct settings_optimizer optimizer;
    enum zi_dtype type;
    /* Largest share of a tolerance. */
    double worst;
    char worst_name[96];
};

/* One array of a golden. */
struct golden_array {
    char name[96];
    int64_t count;
    double *values;
    double tolerance;
};

/* An attribute that is there, as a number. */
static inline double golden_attribute(hid_t object, const char *name)
{
    double value = 0;
    hid_t a = H5Aopen(object, name, H5P_DEFAULT);
    ZI_REQUIRE(a >= 0 && H5Aread(a, H5T_NATIVE_DOUBLE, &value) >= 0);
    H5Aclose(a);
    return value;
}

/* The same, or 0 where there is none. */
static inline double golden_attribute_or_0(hid_t object, const char *name)
{
    return H5Aexists(object, name) > 0 ? golden_attribute(object, name) : 0;
}

/* A word, of an attribute that is text; "" where there is none. The caller frees it. */
static inline char *golden_word(hid_t object, const char *name)
{
    char *word = NULL;
    if (H5Aexists(object, name) <= 0) return calloc(1, 1);
    hid_t a = H5Aopen(object, name, H5P_DEFAULT), type = H5Tcopy(H5T_C_S1);
    ZI_REQUIRE(H5Tset_size(type, H5T_VARIABLE) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0);
    ZI_REQUIRE(a >= 0 && H5Aread(a, type, &word) >= 0 && word);
    H5Tclose(type);
    H5Aclose(a);
    return word;
}

/* The number of a word in a list that ends with NULL. */
static inline int golden_choice(hid_t object, const char *name, const char *const *words)
{
    int number = 0;
    char *word = golden_word(object, name);
    while (words[number] && *word && strcmp(words[number], word) != 0)
        number++;
    ZI_REQUIRE(words[number]);
    free(word);
    return number;
}

/* As enum model_family and enum rope_scaling number them. */
static const char *const golden_families[] = {"gpt2",    "llama", "mistral", "qwen2",  "qwen3",
                                              "smollm3", "olmo2", "gemma2",  "gemma3", NULL};
static const char *const golden_scalings[] = {"none", "linear", "dynamic", "llama3", "yarn", NULL};

/* The same as a whole number. */
static inline int64_t golden_whole(hid_t object, const char *name)
{
    return (int64_t)golden_attribute(object, name);
}

/* Reads a dataset; `deviation` names the attribute of its tolerance. */
static inline struct golden_array golden_read(const struct golden *g, const char *name,
                                              const char *deviation)
{
    struct golden_array a = {.count = 0};
    snprintf(a.name, sizeof a.name, "%s", name);
    hid_t set = H5Dopen2(g->file, name, H5P_DEFAULT);
    if (set < 0) fprintf(stderr, "%s: no dataset %s\n", g->label, name);
    ZI_REQUIRE(set >= 0);
    hid_t space = H5Dget_space(set);
    a.count = H5Sget_simple_extent_npoints(space);
    a.values = calloc((size_t)a.count + 1, sizeof *a.values);
    ZI_REQUIRE(a.values &&
               H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, a.values) >= 0);
    if (deviation) a.tolerance = g->factor * golden_attribute(set, deviation);
    H5Sclose(space);
    H5Dclose(set);
    return a;
}

/* What only some models have. */
static inline void golden_read_kinds(hid_t file, struct settings_model *m)
{
    m->head_width = (int64_t)golden_attribute_or_0(file, "head_width");
    m->window = (int64_t)golden_attribute_or_0(file, "window");
    m->window_from = (int64_t)golden_attribute_or_0(file, "window_from");
    m->full_every = (int64_t)golden_attribute_or_0(file, "full_every");
    m->score_width = (int64_t)golden_attribute_or_0(file, "score_width");
    m->attention_cap = golden_attribute_or_0(file, "attention_cap");
    m->logit_cap = golden_attribute_or_0(file, "logit_cap");
    m->rope_window_base = golden_attribute_or_0(file, "rope_window_base");
    m->unrotated_every = (int64_t)golden_attribute_or_0(file, "unrotated_every");
    m->rope_scaling = golden_choice(file, "rope_scaling", golden_scalings);
    m->rope_factor = golden_attribute_or_0(file, "rope_factor");
    m->rope_original = (int64_t)golden_attribute_or_0(file, "rope_original");
    m->rope_low = golden_attribute_or_0(file, "rope_low");
    m->rope_high = golden_attribute_or_0(file, "rope_high");
    m->rope_fast = golden_attribute_or_0(file, "rope_fast");
    m->rope_slow = golden_attribute_or_0(file, "rope_slow");
    m->rope_truncate = true;
}

/* Opens the golden of a model, to be compared with runs in this type. */
static inline void golden_open(struct golden *g, const char *name, enum zi_dtype type)
{
    const char *top = getenv("abs_top_srcdir");
    char path[4096];
    snprintf(path, sizeof path, "%s/regression/goldens/golden_%s.h5", top ? top : ".", name);
    memset(g, 0, sizeof *g);
    g->type = type;
    snprintf(g->label, sizeof g->label, "%s %s", name, zi_dtype_name(type));
    g->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (g->file < 0) fprintf(stderr, "cannot open %s\n", path);
    ZI_REQUIRE(g->file >= 0);
    g->factor = golden_attribute(g->file, "factor");
    g->settings = (struct settings_model){
        .family = golden_choice(g->file, "family", golden_families),
        .layers = golden_whole(g->file, "layers"),
        .hidden = golden_whole(g->file, "hidden"),
        .heads = golden_whole(g->file, "heads"),
        .key_heads = golden_whole(g->file, "key_heads"),
        .inner = golden_whole(g->file, "inner"),
        .context = golden_whole(g->file, "context"),
        .vocabulary = golden_whole(g->file, "vocabulary"),
        .tied = golden_whole(g->file, "tied"),
        .norm_epsilon = golden_attribute(g->file, "norm_epsilon"),
        .rope_base = golden_attribute(g->file, "rope_base"),
    };
    golden_read_kinds(g->file, &g->settings);
    g->optimizer = (struct settings_optimizer){
        .learning_rate = golden_attribute(g->file, "learning_rate"),
        .beta1 = golden_attribute(g->file, "beta1"),
        .beta2 = golden_attribute(g->file, "beta2"),
        .epsilon = golden_attribute(g->file, "epsilon"),
        .weight_decay = golden_attribute(g->file, "weight_decay"),
        .clip = golden_attribute(g->file, "clip"),
    };
}

/* Closes its file. */
static inline void golden_close(struct golden *g)
{
    H5Fclose(g->file);
}

/* Number of values further from the golden than the tolerance, NaN included. */
static inline int64_t golden_outside(const struct golden_array *golden, const double *found,
                                     double *worst)
{
    int64_t count = 0;
    for (int64_t i = 0; i < golden->count; i++) {
        double share = fabs(found[i] - golden->values[i]) / golden->tolerance;
        if (!(share <= 1)) count++;
        if (!(share <= *worst)) *worst = share;
    }
    return count;
}

/* Compares, then shows that the comparison can fail. */
static inline void golden_compare(struct golden *g, struct golden_array *golden,
                                  const double *found)
{
    double worst = 0, ignored = 0;
    int64_t wrong = golden_outside(golden, found, &worst);
    if (wrong > 0) {
        fprintf(stderr, "%s: %s: %lld of %lld values off by up to %.3g tolerances of %.3g\n",
                g->label, golden->name, (long long)wrong, (long long)golden->count, worst,
                golden->tolerance);
    }
    CHECK_INT(wrong, 0);
    int64_t at = golden->count * 2 / 3;
    golden->values[at] += 10 * golden->tolerance;
    CHECK_INT(golden_outside(golden, found, &ignored), wrong + 1);
    golden->values[at] -= 10 * golden->tolerance;
    if (worst > g->worst) {
        g->worst = worst;
        snprintf(g->worst_name, sizeof g->worst_name, "%s", golden->name);
    }
}

#endif
