/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_ppk.h"
#include "convert.h"

#include <daemon.h>
#include <encoding/payloads/notify_payload.h>

/** the type of all PPK_IDs (RFC 8784) */
#define PPK_ID_FIXED 2

/**
 * The PPK_ID in the request that the calling thread is answering; empty: none
 */
static __thread char named[ENCSYNC_PPK_TEXT_SIZE];

/**
 * Whether the calling thread has refused an IKE_SA that has no PPK
 */
static __thread bool missing;

/**
 * What get_ppk_id() has returned to the calling thread
 */
static __thread identification_t *returned;

/**
 * Check if we are the one who has begun an IKE_SA
 */
static bool have_begun(ike_sa_t *ike_sa)
{
	ike_sa_id_t *id = ike_sa->get_id(ike_sa);

	return id->is_initiator(id);
}

/**
 * Create an identity as charon makes one of a PPK_ID that it receives
 */
static identification_t *create_id(const char *text)
{
	return identification_create_from_data(
								chunk_create((u_char*)text, strlen(text)));
}

/*
 * Described in header.
 */
void encsync_ppk_load(mem_cred_t *set, const encsync_peer_t *peer,
					  const encsync_credential_t *ppk)
{
	char text[ENCSYNC_PPK_TEXT_SIZE];
	shared_key_t *shared;

	if (ppk->len <= ENCSYNC_PPK_ID_SIZE)
	{
		return;
	}
	encsync_core_ppk_text(ppk->data, text);
	shared = shared_key_create(SHARED_PPK,
				chunk_clone(chunk_create((u_char*)ppk->data + ENCSYNC_PPK_ID_SIZE,
										 ppk->len - ENCSYNC_PPK_ID_SIZE)));
	set->add_shared(set, shared, create_id(text), NULL);
}

/**
 * The PPK_ID to offer. Toward a caller there is none to insist on: charon looks
 * for the one that it has named. If we reauthenticate, the calling thread may
 * still be at the old IKE_SA, whoever has begun that.
 */
static identification_t *get_ppk_id(peer_cfg_t *this)
{
	char text[ENCSYNC_PPK_TEXT_SIZE];
	ike_sa_t *ike_sa;

	ike_sa = charon->bus->get_sa(charon->bus);
	if (!ike_sa || (!have_begun(ike_sa) &&
					ike_sa->get_state(ike_sa) == IKE_CONNECTING) ||
		!encsync_core_ppk(encsync_core_peer_by_name(this->get_name(this)), text))
	{
		return NULL;
	}
	/* the caller only borrows it */
	DESTROY_IF(returned);
	returned = create_id(text);
	return returned;
}

/**
 * If we call, charon would break off silently. So it is told that none is required, and
 * encsync_ppk_check() refuses it: then the peer learns of it, too.
 */
static bool ppk_required(peer_cfg_t *this)
{
	ike_sa_t *ike_sa;

	ike_sa = charon->bus->get_sa(charon->bus);
	return ike_sa && !have_begun(ike_sa) && encsync_core_ppk_required(
							encsync_core_peer_by_name(this->get_name(this)));
}

/*
 * Described in header.
 */
void encsync_ppk_configure(peer_cfg_t *peer_cfg)
{
	peer_cfg->get_ppk_id = get_ppk_id;
	peer_cfg->ppk_required = ppk_required;
}

/*
 * Described in header.
 */
void encsync_ppk_message(ike_sa_t *ike_sa, message_t *message, bool incoming)
{
	notify_payload_t *notify;
	auth_cfg_t *auth;
	chunk_t data;

	named[0] = '\0';
	missing = FALSE;
	notify = message->get_notify(message, PPK_IDENTITY);
	if (!notify || !message->get_request(message))
	{
		return;
	}
	data = notify->get_notification_data(notify);
	if (data.len < 2 || data.ptr[0] != PPK_ID_FIXED)
	{
		return;
	}
	data = chunk_skip(data, 1);
	if (data.len >= sizeof(named) || !chunk_printable(data, NULL, 0))
	{	/* none of ours; only whether there is one matters */
		snprintf(named, sizeof(named), "another");
		return;
	}
	memcpy(named, data.ptr, data.len);
	named[data.len] = '\0';
	if (!incoming)
	{	/* another thread may get the response */
		auth = ike_sa->get_auth_cfg(ike_sa, TRUE);
		auth->add(auth, AUTH_RULE_GROUP, create_id(named));
	}
}

/*
 * Described in header.
 */
void encsync_ppk_remember(ike_sa_t *ike_sa)
{
	identification_t *id;
	auth_cfg_t *auth;

	if (!ike_sa->has_condition(ike_sa, COND_PPK))
	{
		return;
	}
	id = ike_sa->get_auth_cfg(ike_sa, TRUE)->get(
								ike_sa->get_auth_cfg(ike_sa, TRUE), AUTH_RULE_GROUP);
	if (have_begun(ike_sa) && !id)
	{
		return;
	}
	id = have_begun(ike_sa) ? id->clone(id) : create_id(named);
	auth = auth_cfg_create();
	auth->add(auth, AUTH_RULE_AAA_IDENTITY, id);
	ike_sa->add_auth_cfg(ike_sa, TRUE, auth);
}

/*
 * Described in header.
 */
bool encsync_ppk_used(ike_sa_t *ike_sa, char id[ENCSYNC_PPK_TEXT_SIZE])
{
	enumerator_t *enumerator;
	identification_t *used;
	auth_cfg_t *auth;
	bool found = FALSE;

	enumerator = ike_sa->create_auth_cfg_enumerator(ike_sa, TRUE);
	while (!found && enumerator->enumerate(enumerator, &auth))
	{
		used = auth->get(auth, AUTH_RULE_AAA_IDENTITY);
		if (used)
		{
			snprintf(id, ENCSYNC_PPK_TEXT_SIZE, "%Y", used);
			found = TRUE;
		}
	}
	enumerator->destroy(enumerator);
	return found;
}

/*
 * Described in header.
 */
bool encsync_ppk_check(ike_sa_t *ike_sa)
{
	missing = encsync_core_ppk_required(encsync_peer_of(ike_sa)) &&
			  !ike_sa->has_condition(ike_sa, COND_PPK);
	return !missing;
}

/*
 * Described in header.
 */
bool encsync_ppk_explain(ike_sa_t *ike_sa, const char *who, char *buf, size_t len)
{
	uint8_t peer = encsync_peer_of(ike_sa);
	char id[ENCSYNC_PPK_TEXT_SIZE];

	if (!encsync_core_ppk_required(peer))
	{
		return FALSE;
	}
	if (have_begun(ike_sa))
	{
		if (!missing)
		{
			return FALSE;
		}
		if (encsync_core_ppk(peer, id))
		{
			snprintf(buf, len, "%s: it has not got our post-quantum preshared key "
					 "(%s), and one is required here (encsync keys ppk)", who, id);
			return TRUE;
		}
		snprintf(buf, len, "%s: there is no post-quantum preshared key with it "
				 "here, and one is required here (encsync keys ppk)", who);
		return TRUE;
	}
	if (!ike_sa->supports_extension(ike_sa, EXT_PPK) || !named[0])
	{
		snprintf(buf, len, "%s: it uses no post-quantum preshared key, and one "
				 "is required here (encsync keys ppk)", who);
		return TRUE;
	}
	if (!encsync_core_has_ppk(peer, named))
	{
		snprintf(buf, len, "%s: its post-quantum preshared key (%s) is not here, "
				 "and one is required here (encsync keys ppk)", who, named);
		return TRUE;
	}
	return FALSE;
}

/*
 * Described in header.
 */
bool encsync_ppk_explain_refusal(ike_sa_t *ike_sa, const char *who, char *buf,
								 size_t len)
{
	uint8_t peer = encsync_peer_of(ike_sa);
	char id[ENCSYNC_PPK_TEXT_SIZE];

	if (!encsync_core_ppk_required(peer))
	{
		return FALSE;
	}
	if (!encsync_core_ppk(peer, id))
	{
		snprintf(buf, len, "%s refused us: there is no post-quantum preshared key "
				 "with it here, though one is required (encsync keys ppk)", who);
		return TRUE;
	}
	snprintf(buf, len, "%s refused us: has it our post-quantum preshared key (%s), "
			 "is our key trusted there, and our id '%Y' its rightid?", who, id,
			 ike_sa->get_my_id(ike_sa));
	return TRUE;
}
