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
 * The number of a part that a builder takes, by its name: fixes that Debian has
 * taken over insert some (6.0.1-6+deb13u3), which the headers do not show.
 */
#define ENCSYNC_PART(part) encsync_compat_number(builder_part_names, #part, part)

static inline int encsync_compat_number(enum_name_t *names, char *name, int number)
{
	enum_from_name(names, name, &number);
	return number;
}

/**
 * Check if the numbers of this charon are those of the headers.
 */
static inline bool encsync_compat_fits()
{
	static const struct {
		enum_name_t **names;
		int number;
		char *name;
	} known[] = {
		{ &auth_class_names, AUTH_CLASS_PSK, "pre-shared key" },
		{ &auth_rule_names, AUTH_RULE_IDENTITY, "RULE_IDENTITY" },
		{ &auth_rule_names, AUTH_RULE_AUTH_CLASS, "RULE_AUTH_CLASS" },
		{ &auth_rule_names, AUTH_RULE_AAA_IDENTITY, "RULE_AAA_IDENTITY" },
		{ &auth_rule_names, AUTH_RULE_XAUTH_IDENTITY, "RULE_XAUTH_IDENTITY" },
		{ &auth_rule_names, AUTH_RULE_SUBJECT_CERT, "RULE_SUBJECT_CERT" },
		{ &auth_rule_names, AUTH_RULE_CA_CERT, "RULE_CA_CERT" },
		{ &auth_rule_names, AUTH_RULE_GROUP, "RULE_GROUP" },
		{ &ike_sa_state_names, IKE_ESTABLISHED, "ESTABLISHED" },
		{ &ike_sa_state_names, IKE_DESTROYING, "DESTROYING" },
		{ &child_sa_state_names, CHILD_INSTALLED, "INSTALLED" },
		{ &child_sa_state_names, CHILD_REKEYED, "REKEYED" },
		{ &child_sa_state_names, CHILD_DELETED, "DELETED" },
		{ &shared_key_type_names, SHARED_PPK, "PPK" },
	};
	char *name;
	size_t i;

	for (i = 0; i < countof(known); i++)
	{
		name = enum_to_name(*known[i].names, known[i].number);
		if (!name || !streq(name, known[i].name))
		{
			DBG1(DBG_LIB, "encsync: built for another charon: number %d is "
				 "%s, not %s", known[i].number, name ?: "none", known[i].name);
			return FALSE;
		}
	}
	return TRUE;
}

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
