/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Preshared keys of IKE in charon. While one is being replaced there are two with a peer: we call
 * with the first, accept both, and answer a caller with the one that it has used. So whoever has
 * either can be met.
 */

#ifndef ENCSYNC_PSK_H_
#define ENCSYNC_PSK_H_

#include <credentials/sets/mem_cred.h>
#include <sa/ike_sa.h>

#include "core.h"

/**
 * Put a preshared key into a set.
 */
void encsync_psk_load(mem_cred_t *set, const encsync_peer_t *peer,
					  const encsync_credential_t *psk);

/**
 * Let a set choose among its preshared keys as above.
 */
void encsync_psk_choose(mem_cred_t *set);

#endif /** ENCSYNC_PSK_H_ */
