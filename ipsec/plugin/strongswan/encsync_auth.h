/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * Authentication of both ends of an IKE_SA, one kind of credential at a time:
 * what charon is configured with, and the error message if it fails. The rest
 * of the plugin does not distinguish the kinds.
 */

#ifndef ENCSYNC_AUTH_H_
#define ENCSYNC_AUTH_H_

#include <config/peer_cfg.h>
#include <credentials/sets/mem_cred.h>
#include <sa/ike_sa.h>

#include "core.h"

/**
 * A certificate that only binds a raw public key to an identity.
 *
 * @param key		adopted; NULL gives NULL
 */
certificate_t *encsync_auth_bind(public_key_t *key, const char *id);

/**
 * A public key from its 32 bytes.
 */
public_key_t *encsync_auth_public(const uint8_t key[ENCSYNC_KEY_SIZE]);

/**
 * Put a peer's credentials into a set.
 */
void encsync_auth_load(mem_cred_t *set, const encsync_peer_t *peer);

/**
 * Set what depends on the credentials in charon's configuration of a peer.
 */
void encsync_auth_configure(const encsync_peer_t *peer, ike_cfg_create_t *ike,
							peer_cfg_create_t *cfg);

/**
 * Create the configuration of one end's authentication.
 */
auth_cfg_t *encsync_auth_create(const encsync_peer_t *peer, bool local);

/**
 * Get a rule of how an end has to authenticate.
 *
 * @return			NULL if the peer is not known yet, or if there is none
 */
void *encsync_auth_rule(ike_sa_t *ike_sa, bool local, auth_rule_t rule);

/**
 * What authenticates us to a peer by its configuration: its preshared key or our certificate for it,
 * as their SHA-256.
 *
 * @return			FALSE: our own key does
 */
bool encsync_auth_to_show(const encsync_peer_t *peer, uint8_t id[ENCSYNC_KEY_SIZE]);

/**
 * Note in an IKE_SA that is being negotiated what authenticates us: when our AUTH payload is made, as
 * all that may be another by the time that the peer answers.
 *
 * @param key		if it is not a certificate: our raw public key, or the SHA-256 of a preshared
 *					key; NULL: we have none
 */
void encsync_auth_note(ike_sa_t *ike_sa, const uint8_t *key);

/**
 * Store it in an IKE_SA, and in those that it is rekeyed to. For the final authorize() hook.
 */
void encsync_auth_remember(ike_sa_t *ike_sa);

/**
 * What was stored; FALSE: nothing.
 */
bool encsync_auth_shown(ike_sa_t *ike_sa, uint8_t id[ENCSYNC_KEY_SIZE]);

/**
 * Explain why we did not accept a peer's authentication, although its identity
 * is the expected one.
 *
 * @param who		name of the peer in the message
 * @param trusted	fingerprints of the keys trusted for it
 */
void encsync_auth_explain(ike_sa_t *ike_sa, const char *who,
						  const char *trusted, char *buf, size_t len);

/**
 * Explain why a peer may have refused us.
 *
 * @param who		name of the peer in the message
 * @param own		fingerprint of our key
 */
void encsync_auth_explain_refusal(ike_sa_t *ike_sa, const char *who,
								  const char *own, char *buf, size_t len);

#endif /** ENCSYNC_AUTH_H_ */
