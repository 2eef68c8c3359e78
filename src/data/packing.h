/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of a file packed into sequences. Private to the room. */
#ifndef ZI_DATA_PACKING_H
#define ZI_DATA_PACKING_H

#include <stdint.h>

#include "base/status.h"

/* `count` tokens from `first` on that are inputs; each has the token behind it as its target, the
 * last one too. All are of one document. */
struct packing_piece {
    int64_t first, count;
};

/* Sequence s has the pieces starts[s] .. starts[s + 1] - 1, behind each other from its first place
 * on. */
struct packing {
    struct packing_piece *pieces;
    /* [sequences + 1] */
    int64_t *starts;
    int64_t sequences;
};

/* Local. Packs documents [starts[i], starts[i + 1]), i < count, into sequences of `length` places. A
 * document of n tokens takes n - 1 places; of one that takes more than `length`, each `length`
 * places are a piece. Pieces go, the longest first, to the sequence that they fill best (of equal
 * ones to the one that came to that last). Depends on nothing else. ZI_ERROR_DEVICE without memory. */
enum zi_status packing_make(const int64_t *starts, int64_t count, int64_t length,
                            struct packing *packing);

/* Local. The places of a sequence that are taken. */
int64_t packing_places(const struct packing *packing, int64_t sequence);

/* Local. Frees the packing's own; of one that is all zero nothing. */
void packing_free(struct packing *packing);

#endif
