/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ML-KEM-768 for the C half of the plugin; mlkem.hpp describes it. Strings are reasons of a failure,
 * one line.
 */

#ifndef ENCSYNC_MLKEM_CORE_H_
#define ENCSYNC_MLKEM_CORE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ENCSYNC_MLKEM_SECRET_SIZE 32

typedef struct encsync_mlkem_t encsync_mlkem_t;

bool encsync_mlkem_available(void);
encsync_mlkem_t *encsync_mlkem_new(void);
/** Valid as long as the object. */
bool encsync_mlkem_get_public_key(encsync_mlkem_t *kem, const uint8_t **data, size_t *len, char *why,
								  size_t size);
bool encsync_mlkem_set_public_key(encsync_mlkem_t *kem, const uint8_t *data, size_t len, char *why,
								  size_t size);
/** NULL: there is none yet. */
const uint8_t *encsync_mlkem_get_secret(const encsync_mlkem_t *kem);
void encsync_mlkem_free(encsync_mlkem_t *kem);

#ifdef __cplusplus
}
#endif

#endif /* ENCSYNC_MLKEM_CORE_H_ */
