/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as people read them. */
#include "app/numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static const struct number missing = {"-"};

/* Takes zeros and the plus out of an exponent: 4e-04 becomes 4e-4. */
static void shorten_exponent(char *text)
{
    char *e = strchr(text, 'e');
    if (!e) return;
    char *from = e + 1, *to = e + 1;
    if (*from == '-') to++;
    from++;
    while (*from == '0' && from[1])
        from++;
    memmove(to, from, strlen(from) + 1);
}

struct number number_plain(double value)
{
    struct number n = missing;
    if (!isfinite(value)) return n;
    snprintf(n.text, sizeof n.text, "%.4g", value);
    shorten_exponent(n.text);
    return n;
}

struct number number_loss(double value)
{
    struct number n = missing;
    if (fabs(value) < 1e6) snprintf(n.text, sizeof n.text, "%.4f", value);
    return fabs(value) < 1e6 ? n : number_plain(value);
}

struct number number_exponent(double value)
{
    struct number n = missing;
    if (!isfinite(value)) return n;
    snprintf(n.text, sizeof n.text, "%.2e", value);
    shorten_exponent(n.text);
    return n;
}

/* The power of 1000 that a value is shown in, and its letter. */
static int prefix_of(double value, double *scale)
{
    int index = 0;
    *scale = 1;
    /* 999.5 would be rounded to 1000. */
    while (fabs(value) >= 999.5 * *scale && index < 5) {
        *scale *= 1e3;
        index++;
    }
    return index;
}

static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};

struct number number_si(double value, const char *unit)
{
    struct number n = missing;
    double scale;
    if (!isfinite(value)) return n;
    int prefix = prefix_of(value, &scale);
    double shown = value / scale;
    int decimals = prefix == 0 && shown == floor(shown) ? 0
                   : fabs(shown) < 9.995                ? 2
                   : fabs(shown) < 99.95                ? 1
                                                        : 0;
    snprintf(n.text, sizeof n.text, "%.*f%s%s%s", decimals, shown,
             prefixes[prefix][0] || unit[0] ? " " : "", prefixes[prefix], unit);
    return n;
}

struct number number_memory(double bytes)
{
    struct number n = missing;
    if (bytes >= 0 && bytes < 0x1p63) zi_memory_text((size_t)bytes, n.text, sizeof n.text);
    return n;
}

struct number number_share(double part)
{
    struct number n = missing;
    if (isfinite(part)) snprintf(n.text, sizeof n.text, "%.1f %%", 100 * part);
    return n;
}

struct number number_time(double seconds)
{
    struct number n = missing;
    if (!(seconds >= 0 && seconds < 1e12)) return n;
    if (seconds < 1e-3) {
        snprintf(n.text, sizeof n.text, "%.3g us", 1e6 * seconds);
    } else if (seconds < 1) {
        snprintf(n.text, sizeof n.text, "%.3g ms", 1e3 * seconds);
    } else if (seconds < 100) {
        snprintf(n.text, sizeof n.text, "%.3g s", seconds);
    } else {
        long long whole = (long long)(seconds + 0.5);
        snprintf(n.text, sizeof n.text, "%lld:%02d:%02d", whole / 3600, (int)(whole / 60 % 60),
                 (int)(whole % 60));
    }
    return n;
}

struct number number_date(time_t when)
{
    struct number n = missing;
    struct tm parts;
    if (!gmtime_r(&when, &parts) ||
        !strftime(n.text, sizeof n.text, "%Y-%m-%d %H:%M:%S UTC", &parts))
        return missing;
    return n;
}

struct number number_tick(double value, double step, double most)
{
    struct number n = missing;
    double scale;
    int prefix = prefix_of(most, &scale);
    if (most < 0.0095) {
        snprintf(n.text, sizeof n.text, "%.2g", value);
        shorten_exponent(n.text);
        return n;
    }
    int decimals = (int)ceil(-log10(step / scale) - 1e-9);
    snprintf(n.text, sizeof n.text, "%.*f%s%s", decimals > 0 && value != 0 ? decimals : 0,
             value / scale, value != 0 && prefix ? " " : "", value != 0 ? prefixes[prefix] : "");
    return n;
}
