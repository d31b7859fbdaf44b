/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * Passes charon's log on to encsyncd.
 */

#ifndef ENCSYNC_LOGGER_H_
#define ENCSYNC_LOGGER_H_

#include <bus/listeners/logger.h>

typedef struct encsync_logger_t encsync_logger_t;

/**
 * Logger on charon's bus.
 */
struct encsync_logger_t {

	/**
	 * Implements logger_t.
	 */
	logger_t logger;

	/**
	 * Destroy an encsync_logger_t.
	 */
	void (*destroy)(encsync_logger_t *this);
};

/**
 * Create an encsync_logger_t instance and add it to the bus.
 */
encsync_logger_t *encsync_logger_create();

#endif /** ENCSYNC_LOGGER_H_ */
