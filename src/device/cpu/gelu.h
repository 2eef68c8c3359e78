/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels: GELU in its tanh form (Hendrycks and Gimpel 2016) and its slope, in lanes.
 *
 * x (1 + tanh(u)) / 2 = x / (1 + exp(-2 u)), u = sqrt(2/pi) (x + 0.044715 x^3): one exponential and
 * one division, and no cancellation for negative x. Constants carry the factor log2(e), because the
 * exponential at hand is 2^x. Relative error of the logistic: 3e-7 near 0, growing with |u| as the
 * rounding of its argument does (1e-7 |u|), where the value itself is tiny or 1. */
#ifndef ZI_DEVICE_CPU_GELU_H
#define ZI_DEVICE_CPU_GELU_H

#include "device/cpu/vector.h"

/* 2 u log2(e) = x (GELU_A + GELU_B x^2) */
#define GELU_A 2.30220820f
#define GELU_B 0.102943240f
/* d(2 u)/dx = GELU_C + GELU_D x^2 */
#define GELU_C 1.59576912f
#define GELU_D 0.214064488f

/* GELU by tanh. */
VEC_INLINE vec gelu_lanes(vec x)
{
    return x * vec_logistic2(x * vec_fma(x * x, vec_set(GELU_B), vec_set(GELU_A)));
}

/* s + x s (1 - s) d(2u)/dx, with s the logistic of 2u. Where s (1 - s) is 0, x^2 may overflow: then
 * the second term is left out. */
VEC_INLINE vec gelu_slope_lanes(vec x)
{
    vec square = x * x;
    vec s = vec_logistic2(x * vec_fma(square, vec_set(GELU_B), vec_set(GELU_A)));
    vec bounded = vec_min(vec_set(1e4f), square);
    vec slope = x * vec_fma(bounded, vec_set(GELU_D), vec_set(GELU_C));
    return vec_fma(s * (1.0f - s), slope, s);
}

#endif
