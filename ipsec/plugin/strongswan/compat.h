/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * What differs between the versions of strongSwan that the plugin is built for,
 * 5.9.8 (Debian 12) and 6.0.1 (Debian 13). ENCSYNC_STRONGSWAN is the version
 * as a number: 50908, 60001.
 */

#ifndef ENCSYNC_COMPAT_H_
#define ENCSYNC_COMPAT_H_

#include <daemon.h>

#if ENCSYNC_STRONGSWAN < 60000

/** numbers of RFC 9242 and RFC 9370, which strongSwan 5 never negotiates */
# define IKE_INTERMEDIATE 43
# define IKE_FOLLOWUP_KE 44
# define ADDITIONAL_KEY_EXCHANGE_1 6
# define ADDITIONAL_KEY_EXCHANGE_7 12

#endif

/**
 * Initiate an IKE_SA and its CHILD_SA, without waiting for them.
 *
 * @param peer_cfg	adopted
 * @param child_cfg	adopted
 */
static inline void encsync_compat_initiate(peer_cfg_t *peer_cfg,
										   child_cfg_t *child_cfg)
{
#if ENCSYNC_STRONGSWAN < 50911
	charon->controller->initiate(charon->controller, peer_cfg, child_cfg, NULL,
								 NULL, 0, FALSE);
#else
	charon->controller->initiate(charon->controller, peer_cfg, child_cfg, NULL,
								 NULL, LEVEL_SILENT, 0, FALSE);
#endif
}

/**
 * If both ends rekey a CHILD_SA at once and ours is refused, charon 5.9 forgets
 * that the peer's has already replaced it. It would then treat the DELETE of
 * the old one as the end of the connection, and never send on the new one. So
 * set the state that charon should have, as charon 6 does by itself.
 *
 * @return			TRUE if the peer's has replaced it
 */
static inline bool encsync_compat_replaced(ike_sa_t *ike_sa, child_sa_t *child_sa)
{
#if ENCSYNC_STRONGSWAN < 60000
	child_sa_t *new;
	uint32_t spi;

	spi = child_sa->get_rekey_spi(child_sa);
	new = spi ? ike_sa->get_child_sa(ike_sa, PROTO_ESP, spi, FALSE) : NULL;
	if (new && new->get_state(new) == CHILD_INSTALLED)
	{
		child_sa->set_state(child_sa, CHILD_REKEYED);
		return TRUE;
	}
#endif
	return FALSE;
}

#endif /** ENCSYNC_COMPAT_H_ */
