/* SPDX-License-Identifier: Apache-2.0 */
/* What may help a run whose steps are not finite any more.
 *
 * Only what this deck can do is named: a clip that is not set cannot be smaller, and fp32 is no way
 * out of fp32; bf16 holds what fp16 overflows with. A first step that is not finite has had no
 * update, so that nothing of the optimizer is to blame; and a longer warmup helps where the trouble
 * began in it or soon after. */
#include <inttypes.h>
#include <stdio.h>

#include "app/run.h"
#include "base/log.h"

enum { MOST = 6 };

/* The parts of the advice, in the order of what is likeliest to help; their number. */
static int collect(const struct settings *s, int64_t first, char parts[MOST][96])
{
    const struct settings_optimizer *o = &s->optimizer;
    bool early = first <= o->warmup + s->run.steps / 10 + 1, untrained = first == 1;
    int count = 0;
    if (untrained)
        snprintf(parts[count++], sizeof parts[0], "a smaller model.init_deviation (%g)",
                 s->model.init_deviation);
    if (!untrained)
        snprintf(parts[count++], sizeof parts[0], "a lower optimizer.learning_rate (%g)",
                 o->learning_rate);
    if (!untrained && early)
        snprintf(parts[count++], sizeof parts[0],
                 o->warmup > 0 ? "a longer optimizer.warmup (%" PRId64 " steps)"
                               : "an optimizer.warmup",
                 o->warmup);
    if (!untrained && o->clip > 0)
        snprintf(parts[count++], sizeof parts[0], "a smaller optimizer.clip (%g)", o->clip);
    if (!untrained && !(o->clip > 0))
        snprintf(parts[count++], sizeof parts[0], "an optimizer.clip, as 1.0");
    if (s->precision.compute == ZI_FP16 && s->precision.loss_scale != ZI_AUTO)
        snprintf(parts[count++], sizeof parts[0], "precision.loss_scale: auto");
    if (s->precision.compute != ZI_FP32)
        snprintf(parts[count++], sizeof parts[0], "precision.compute: %s",
                 s->precision.compute == ZI_FP16 ? "bf16" : "fp32");
    return count;
}

void advise_numerics(const struct run *run, int64_t in_a_row)
{
    char parts[MOST][96], text[MOST * 100];
    int count = collect(run->setup.settings, run->done - in_a_row + 1, parts);
    size_t used = 0;
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s",
                                 i == 0           ? ""
                                 : i + 1 == count ? (count > 2 ? ", or " : " or ")
                                                  : ", ",
                                 parts[i]);
    zi_log(ZI_LOG_ERROR, "app",
           "%" PRId64 " steps in a row, from step %" PRId64 " on, were not finite and were skipped "
           "(run.nonfinite_limit); try %s",
           in_a_row, run->done - in_a_row + 1, text);
}
