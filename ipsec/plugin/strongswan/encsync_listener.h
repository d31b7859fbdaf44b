/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * Tells encsyncd, in words for a person, how the peers fare; and what charon
 * logs.
 */

#ifndef ENCSYNC_LISTENER_H_
#define ENCSYNC_LISTENER_H_

#include <bus/listeners/listener.h>
#include <bus/listeners/logger.h>

#include "encsync_creds.h"

typedef struct encsync_listener_t encsync_listener_t;

/**
 * Listener and logger on charon's bus.
 */
struct encsync_listener_t {

	/**
	 * Implements listener_t.
	 */
	listener_t listener;

	/**
	 * Implements logger_t.
	 */
	logger_t logger;

	/**
	 * Destroy an encsync_listener_t.
	 */
	void (*destroy)(encsync_listener_t *this);
};

/**
 * Create an encsync_listener_t instance.
 *
 * @param creds		to name keys by their fingerprints
 */
encsync_listener_t *encsync_listener_create(encsync_creds_t *creds);

#endif /** ENCSYNC_LISTENER_H_ */
