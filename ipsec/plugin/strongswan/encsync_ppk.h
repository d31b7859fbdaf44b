/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Post-quantum preshared keys (PPK, RFC 8784) in charon: which one we offer, which we accept, and
 * which an IKE_SA uses.
 *
 * charon's own configuration has one PPK_ID for both ends of a conn, fixed for the life of an
 * IKE_SA. But a PPK changes while there are SAs, and a reauthentication uses the configuration of
 * the old one; so the functions of peer_cfg_t that tell it are replaced by ours, which ask for what
 * is so now.
 */

#ifndef ENCSYNC_PPK_H_
#define ENCSYNC_PPK_H_

#include <config/peer_cfg.h>
#include <credentials/sets/mem_cred.h>
#include <encoding/message.h>
#include <sa/ike_sa.h>

#include "core.h"

/**
 * Put a PPK into a set.
 */
void encsync_ppk_load(mem_cred_t *set, const encsync_peer_t *peer,
					  const encsync_credential_t *ppk);

/**
 * Let a configuration tell the PPK of its peer.
 */
void encsync_ppk_configure(peer_cfg_t *peer_cfg);

/**
 * See an IKE_AUTH message: a request may name a PPK.
 *
 * @param incoming	FALSE: we send it
 */
void encsync_ppk_message(ike_sa_t *ike_sa, message_t *message, bool incoming);

/**
 * Keep which PPK an IKE_SA uses, also if it is rekeyed. For the final authorize() hook.
 */
void encsync_ppk_remember(ike_sa_t *ike_sa);

/**
 * Check if an IKE_SA may be used: it has a PPK, or needs none. For the final
 * authorize() hook. With FALSE, encsync_ppk_explain() says why.
 */
bool encsync_ppk_check(ike_sa_t *ike_sa);

/**
 * The id of the PPK that an IKE_SA uses; FALSE: none.
 */
bool encsync_ppk_used(ike_sa_t *ike_sa, char id[ENCSYNC_PPK_TEXT_SIZE]);

/**
 * Explain that we did not accept a peer because of its PPK; FALSE: that was not the reason.
 */
bool encsync_ppk_explain(ike_sa_t *ike_sa, const char *who, char *buf, size_t len);

/**
 * Explain that a peer may have refused us because of the PPK; FALSE: another reason is likelier.
 */
bool encsync_ppk_explain_refusal(ike_sa_t *ike_sa, const char *who, char *buf, size_t len);

#endif /** ENCSYNC_PPK_H_ */
