/* SPDX-License-Identifier: Apache-2.0 */
/* What a block's place in the model makes of its attention: window and rotary positions.
 *
 * Frequencies are a table per call, made here from the deck, so that devices know nothing of the
 * ways in which contexts are stretched. With b the base and D the width of a head, pair i has the
 * frequency b^(-2i/D) radians per token (Su et al. 2021), and, stretched by s:
 *
 *     linear   frequency / s (Chen et al. 2023)
 *     dynamic  the base b (s n/n0 - s + 1)^(D/(D-2)) in sequences of n > n0 tokens; no more than n0,
 *              the original context, leave it alone
 *     llama3   frequency / s where an original context has fewer than `low` periods, the frequency
 *              where it has more than `high`, in between both in proportion to the periods
 *     yarn     the same with a proportion that is linear in i (Peng et al. 2023), and sines and
 *              cosines multiplied with 1 + ln(s)/10 */
#include <math.h>

#include "base/log.h"
#include "model/family.h"

#define TWO_PI 6.283185307179586477

static bool every(int64_t n, int block)
{
    return n > 0 && (block + 1) % n == 0;
}

int64_t family_window(const struct settings_model *s, int block)
{
    return block < s->window_from || every(s->full_every, block) ? 0 : s->window;
}

static int64_t original_context(const struct settings_model *s)
{
    return s->rope_original > 0 ? s->rope_original : s->context;
}

/* The base in sequences of so many tokens, of heads of this width. */
static double dynamic_base(const struct settings_model *s, int64_t tokens, int64_t width)
{
    double original = (double)original_context(s), factor = s->rope_factor;
    if ((double)tokens <= original || width == 2) return s->rope_base;
    double longer = factor * (double)tokens / original - (factor - 1);
    return s->rope_base * pow(longer, (double)width / (double)(width - 2));
}

/* The share of the plain frequency that llama3 keeps; the rest is divided. */
static double llama3_share(const struct settings_model *s, double frequency)
{
    double periods = (double)original_context(s) * frequency / TWO_PI;
    double share = (periods - s->rope_low) / (s->rope_high - s->rope_low);
    return fmin(1, fmax(0, share));
}

/* The pair, not whole, that has so many periods in an original context. */
static double pair_with_periods(const struct settings_model *s, double periods, int64_t width)
{
    double wavelength = (double)original_context(s) / periods;
    return (double)width * log(wavelength / TWO_PI) / (2 * log(s->rope_base));
}

/* The same of yarn, for pair i. */
static double yarn_share(const struct settings_model *s, int64_t i, int64_t width)
{
    double first = pair_with_periods(s, s->rope_fast, width);
    double last = pair_with_periods(s, s->rope_slow, width);
    if (s->rope_truncate) {
        first = floor(first);
        last = ceil(last);
    }
    first = fmax(first, 0);
    last = fmin(last, (double)(width - 1));
    if (first == last) last += 0.001; /* a step */
    return 1 - fmin(1, fmax(0, ((double)i - first) / (last - first)));
}

static double scaled(const struct settings_model *s, int64_t i, int64_t width, double frequency)
{
    double share = 1;
    if (s->rope_scaling == ROPE_LINEAR) share = 0;
    if (s->rope_scaling == ROPE_LLAMA3) share = llama3_share(s, frequency);
    if (s->rope_scaling == ROPE_YARN) share = yarn_share(s, i, width);
    if (share == 1) return frequency;
    return frequency * share + frequency / s->rope_factor * (1 - share);
}

bool family_rotates(const struct settings_model *s, int block, int64_t tokens,
                    struct family_rope *rope)
{
    int64_t width = family_head_width(s);
    double base = s->rope_base;
    bool local = s->rope_window_base > 0 && family_window(s, block) > 0;
    if (!family_of(s)->rotary || every(s->unrotated_every, block)) return false;
    ZI_REQUIRE(width <= 2 * DEVICE_ROPE_PAIRS);
    *rope = (struct family_rope){.scale = 1};
    if (local) base = s->rope_window_base;
    if (!local && s->rope_scaling == ROPE_DYNAMIC) base = dynamic_base(s, tokens, width);
    if (!local && s->rope_scaling == ROPE_YARN)
        rope->scale =
            (float)(s->rope_attention > 0 ? s->rope_attention : 1 + log(s->rope_factor) / 10);
    for (int64_t i = 0; i < width / 2; i++) {
        double frequency = pow(base, -2.0 * (double)i / (double)width);
        rope->frequencies[i] = local ? frequency : scaled(s, i, width, frequency);
    }
    return true;
}
