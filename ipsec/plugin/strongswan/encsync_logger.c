/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_logger.h"
#include "core.h"

#include <daemon.h>

/** maximum length of a line */
#define MAX_LINE 1000

/** syslog's level of debug messages */
#define SYSLOG_DEBUG 7

typedef struct private_encsync_logger_t private_encsync_logger_t;

/**
 * Private data of an encsync_logger_t object.
 */
struct private_encsync_logger_t {

	/**
	 * Public encsync_logger_t interface.
	 */
	encsync_logger_t public;

	/**
	 * Level up to which charon's log is passed on: normally nothing, because
	 * anybody can cause log lines, and what matters is reported as an event
	 */
	level_t level;
};

METHOD(logger_t, log_, void,
	private_encsync_logger_t *this, debug_t group, level_t level, int thread,
	ike_sa_t *ike_sa, const char *message)
{
	char text[MAX_LINE];
	peer_cfg_t *cfg;

	cfg = ike_sa ? ike_sa->get_peer_cfg(ike_sa) : NULL;
	snprintf(text, sizeof(text), "%s%s%s", cfg ? cfg->get_name(cfg) : "",
			 cfg ? ": " : "", message);
	encsync_core_log(SYSLOG_DEBUG, text);
}

METHOD(logger_t, get_level, level_t,
	private_encsync_logger_t *this, debug_t group)
{
	return this->level;
}

METHOD(encsync_logger_t, destroy, void,
	private_encsync_logger_t *this)
{
	charon->bus->remove_logger(charon->bus, &this->public.logger);
	free(this);
}

/*
 * Described in header.
 */
encsync_logger_t *encsync_logger_create()
{
	private_encsync_logger_t *this;

	INIT(this,
		.public = {
			.logger = {
				.log = _log_,
				.get_level = _get_level,
			},
			.destroy = _destroy,
		},
		.level = lib->settings->get_int(lib->settings, "%s.plugins.encsync.log",
										LEVEL_SILENT, lib->ns),
	);
	charon->bus->add_logger(charon->bus, &this->public.logger);

	return &this->public;
}
