/* SPDX-License-Identifier: Apache-2.0 */
/* What a deck's model section must fulfil beyond the ranges of its keys, and what its `auto` values
 * stand for. */
#include <inttypes.h>

#include "model/family.h"

#define LARGEST ((int64_t)1 << 40) /* elements of one tensor */

int64_t family_inner(const struct settings_model *settings)
{
    if (!family_of(settings)->gated) return 4 * settings->hidden;
    return (8 * settings->hidden / 3 + 63) / 64 * 64;
}

/* The divisor of `of` that is nearest to `wanted`. */
static int64_t nearest_divisor(int64_t of, int64_t wanted)
{
    for (int64_t distance = 0; distance < of; distance++) {
        if (wanted - distance >= 1 && of % (wanted - distance) == 0) return wanted - distance;
        if (of % (wanted + distance) == 0) return wanted + distance;
    }
    return 1;
}

void model_check(struct deck *deck)
{
    struct settings_model *s = &deck_settings(deck)->model;
    const struct family *family = family_of(s);
    if (s->key_heads == ZI_AUTO) s->key_heads = s->heads;
    if (s->inner == ZI_AUTO) s->inner = family_inner(s);
    if (s->tied == ZI_AUTO) s->tied = family->tied;
    if (s->hidden % s->heads != 0) {
        deck_complain(deck, "model", "heads",
                      "%" PRId64 " heads do not divide model.hidden %" PRId64 "; %" PRId64 " do",
                      s->heads, s->hidden, nearest_divisor(s->hidden, s->heads));
        return;
    }
    if (s->key_heads > s->heads || s->heads % s->key_heads != 0) {
        deck_complain(deck, "model", "key_heads",
                      "%" PRId64 " key heads do not divide %" PRId64 " heads; %" PRId64 " do",
                      s->key_heads, s->heads, nearest_divisor(s->heads, s->key_heads));
    }
    int64_t width = s->hidden / s->heads;
    if (family->rotary && width % 2 != 0) {
        deck_complain(deck, "model", "heads",
                      "rotary positions need heads of even width; %" PRId64
                      " heads of model.hidden "
                      "%" PRId64 " are %" PRId64 " wide",
                      s->heads, s->hidden, width);
    }
    if (width > 256) {
        deck_complain(deck, "model", "heads",
                      "heads are %" PRId64 " wide, at most 256 work; use at least %" PRId64
                      " heads",
                      width, (s->hidden + 255) / 256);
    }
    if (s->vocabulary > LARGEST / s->hidden || s->inner > LARGEST / s->hidden) {
        deck_complain(deck, "model", "hidden",
                      "one tensor would have more than %" PRId64 " elements", LARGEST);
    }
}
