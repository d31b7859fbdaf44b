/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * Reports the state of the peers to encsyncd, with texts for the log.
 */

#ifndef ENCSYNC_LISTENER_H_
#define ENCSYNC_LISTENER_H_

#include <bus/listeners/listener.h>

#include "encsync_creds.h"

typedef struct encsync_listener_t encsync_listener_t;

/**
 * Listener on charon's bus.
 */
struct encsync_listener_t {

	/**
	 * Implements listener_t.
	 */
	listener_t listener;

	/**
	 * Destroy an encsync_listener_t.
	 */
	void (*destroy)(encsync_listener_t *this);
};

/**
 * Whether the calling thread is answering a request of the peer that creates a
 * CHILD_SA: the peer does not have that SA yet.
 */
bool encsync_listener_answers_creation();

/**
 * Create an encsync_listener_t instance and add it to the bus.
 *
 * @param creds		for fingerprints of keys
 */
encsync_listener_t *encsync_listener_create(encsync_creds_t *creds);

#endif /** ENCSYNC_LISTENER_H_ */
