/* SPDX-License-Identifier: Apache-2.0 */
/* The nearest known name.
 *
 * Most unknown words of a deck are known words with a slip of the finger. The distance is the
 * number of insertions, deletions, replacements and swaps of neighbours that turn one word into the
 * other (optimal string alignment), capitals and the characters - and _ counting as alike. A name
 * is near when at most a third of it, and at least one letter, has to change; a name that begins
 * with the word (at least three letters) is near too. */
#include "deck/value.h"

#include <ctype.h>
#include <string.h>

enum { LENGTH_MAX = 40 };

static int letter(char c)
{
    return c == '-' ? '_' : tolower((unsigned char)c);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int distance(const char *a, const char *b, int length_a, int length_b)
{
    int rows[3][LENGTH_MAX + 1];
    for (int j = 0; j <= length_b; j++)
        rows[0][j] = j;
    for (int i = 1; i <= length_a; i++) {
        int *row = rows[i % 3], *before = rows[(i + 2) % 3], *twice = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= length_b; j++) {
            int differ = letter(a[i - 1]) != letter(b[j - 1]);
            row[j] = least(before[j - 1] + differ, least(before[j], row[j - 1]) + 1);
            bool swapped = i > 1 && j > 1 && letter(a[i - 1]) == letter(b[j - 2]) &&
                           letter(a[i - 2]) == letter(b[j - 1]);
            if (swapped) row[j] = least(row[j], twice[j - 2] + 1);
        }
    }
    return rows[length_a % 3][length_b];
}

const char *deck_nearest(const char *word, const char *const *names, int count)
{
    const char *nearest = NULL;
    int best = LENGTH_MAX, length = (int)strnlen(word, LENGTH_MAX + 1);
    if (length > LENGTH_MAX) return NULL;
    for (int i = 0; i < count; i++) {
        int other = (int)strlen(names[i]);
        if (other > LENGTH_MAX) continue;
        int limit = other < 6 ? 1 + (other > 3) : other / 3;
        int far = distance(word, names[i], length, other);
        if (length >= 3 && strncmp(word, names[i], (size_t)length) == 0) far = least(far, 1);
        if (far <= limit && far < best && far < other) {
            best = far;
            nearest = names[i];
        }
    }
    return nearest;
}
