/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * The configured peers, as charon's configurations.
 */

#ifndef ENCSYNC_BACKEND_H_
#define ENCSYNC_BACKEND_H_

#include <config/backend.h>

#include "core.h"
#include "encsync_creds.h"

typedef struct encsync_backend_t encsync_backend_t;

/**
 * Configuration backend, filled by encsyncd.
 */
struct encsync_backend_t {

	/**
	 * Implements backend_t.
	 */
	backend_t backend;

	/**
	 * Add or replace a peer. IKE_SAs in use keep the configuration they have.
	 *
	 * @param peer		the peer
	 */
	void (*set_peer)(encsync_backend_t *this, const encsync_peer_t *peer);

	/**
	 * Remove a peer.
	 *
	 * @param name		its name
	 */
	void (*remove_peer)(encsync_backend_t *this, const char *name);

	/**
	 * Destroy an encsync_backend_t.
	 */
	void (*destroy)(encsync_backend_t *this);
};

/**
 * Create an encsync_backend_t instance.
 *
 * @param creds		our keys
 */
encsync_backend_t *encsync_backend_create(encsync_creds_t *creds);

#endif /** ENCSYNC_BACKEND_H_ */
