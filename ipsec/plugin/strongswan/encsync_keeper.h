/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * Keeps the peers up: initiates missing SAs, without giving up, and carries out
 * encsyncd's orders about SAs.
 */

#ifndef ENCSYNC_KEEPER_H_
#define ENCSYNC_KEEPER_H_

#include "encsync_backend.h"
#include "encsync_creds.h"

typedef struct encsync_keeper_t encsync_keeper_t;

/**
 * Keeper of SAs.
 */
struct encsync_keeper_t {

	/**
	 * Initiate to a peer now.
	 *
	 * @param name		name of the peer
	 */
	void (*initiate)(encsync_keeper_t *this, const char *name);

	/**
	 * Negotiate new SAs with a peer.
	 *
	 * @param name		name of the peer
	 * @param reauth	TRUE to reauthenticate
	 */
	void (*rekey)(encsync_keeper_t *this, const char *name, bool reauth);

	/**
	 * Close all SAs with a peer.
	 *
	 * @param name		name of the peer
	 */
	void (*terminate)(encsync_keeper_t *this, const char *name);

	/**
	 * Close those SAs with a peer that were authenticated with a key which is no
	 * longer trusted.
	 *
	 * @param name		name of the peer
	 */
	void (*cut)(encsync_keeper_t *this, const char *name);

	/**
	 * Destroy an encsync_keeper_t.
	 */
	void (*destroy)(encsync_keeper_t *this);
};

/**
 * Create an encsync_keeper_t instance.
 *
 * @param backend	the peers
 * @param creds		our key
 */
encsync_keeper_t *encsync_keeper_create(encsync_backend_t *backend,
										encsync_creds_t *creds);

#endif /** ENCSYNC_KEEPER_H_ */
