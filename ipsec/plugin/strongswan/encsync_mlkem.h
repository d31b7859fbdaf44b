/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * ML-KEM-768 as a key exchange method of charon, which Debian's has not.
 */

#ifndef ENCSYNC_MLKEM_H_
#define ENCSYNC_MLKEM_H_

#include <crypto/key_exchange.h>

/**
 * Create one end of an exchange (ke_constructor_t).
 */
key_exchange_t *encsync_mlkem_create(key_exchange_method_t method, ...);

#endif /** ENCSYNC_MLKEM_H_ */
