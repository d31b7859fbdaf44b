/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_creds.h"
#include "encsync_auth.h"
#include "compat.h"
#include "convert.h"

#include <daemon.h>
#include <asn1/asn1.h>
#include <credentials/sets/mem_cred.h>
#include <threading/mutex.h>

/** size of the list of a peer's fingerprints */
#define MAX_FINGERPRINTS 512

typedef struct private_encsync_creds_t private_encsync_creds_t;

/**
 * Private data of an encsync_creds_t object.
 */
struct private_encsync_creds_t {

	/**
	 * Public encsync_creds_t interface.
	 */
	encsync_creds_t public;

	/**
	 * Our private keys, and a certificate that binds the first one to our
	 * identity; NULL until we have one
	 */
	mem_cred_t *own;

	/**
	 * The keys trusted for each peer
	 */
	mem_cred_t *peers[ENCSYNC_MAX_PEERS];

	/**
	 * Certificates that bind our first key to our identity towards a peer (leftid),
	 * each in a set of its own, as it is added and removed with the peer
	 */
	mem_cred_t *aliases[ENCSYNC_MAX_PEERS];

	/**
	 * Our identity towards each peer
	 */
	char *left_ids[ENCSYNC_MAX_PEERS];

	/**
	 * Lock for the members below
	 */
	mutex_t *mutex;

	/**
	 * Our public keys: the first one, and the next one while it replaces it
	 */
	uint8_t publics[2][ENCSYNC_KEY_SIZE];

	/**
	 * How many of these there are
	 */
	size_t count;

	/**
	 * Peers towards which we sign with the next one, if there is one
	 */
	bool next_key[ENCSYNC_MAX_PEERS];

	/**
	 * What authenticates us to each peer, if it is not one of our keys
	 */
	struct {
		bool set;
		uint8_t id[ENCSYNC_KEY_SIZE];
	} others[ENCSYNC_MAX_PEERS];

	/**
	 * Fingerprints of the keys trusted for each peer
	 */
	char fingerprints[ENCSYNC_MAX_PEERS][MAX_FINGERPRINTS];
};

/**
 * Replace a set by another; each of them may be NULL
 */
static void replace_set(mem_cred_t **place, mem_cred_t *fresh)
{
	/* the new one first, so a concurrent lookup always finds one */
	if (fresh)
	{
		lib->credmgr->add_set(lib->credmgr, &fresh->set);
	}
	if (*place)
	{
		lib->credmgr->remove_set(lib->credmgr, &(*place)->set);
		(*place)->destroy(*place);
	}
	*place = fresh;
	lib->credmgr->flush_cache(lib->credmgr, CERT_ANY);
}

/**
 * Bind our key to the identity that we have towards a peer
 */
static void set_alias(private_encsync_creds_t *this, uint8_t id)
{
	mem_cred_t *fresh = NULL;
	certificate_t *cert;

	if (this->own && this->left_ids[id])
	{
		cert = encsync_auth_bind(encsync_auth_public(this->publics[0]), this->left_ids[id]);
		if (cert)
		{
			fresh = mem_cred_create();
			fresh->add_cert(fresh, FALSE, cert);
		}
	}
	replace_set(&this->aliases[id], fresh);
}

/**
 * Create a private key from its seed, and get its public part
 */
static private_key_t *load_private(const uint8_t seed[ENCSYNC_KEY_SIZE],
								   uint8_t public[ENCSYNC_KEY_SIZE])
{
	private_key_t *private;
	public_key_t *key;
	chunk_t wrapped, spki = chunk_empty;

	/* RFC 8410: the private key is an OCTET STRING */
	wrapped = asn1_wrap(ASN1_OCTET_STRING, "c",
						chunk_create((u_char*)seed, ENCSYNC_KEY_SIZE));
	private = lib->creds->create(lib->creds, CRED_PRIVATE_KEY, KEY_ED25519,
						ENCSYNC_PART(BUILD_EDDSA_PRIV_ASN1_DER), wrapped,
						ENCSYNC_PART(BUILD_END));
	chunk_clear(&wrapped);
	key = private ? private->get_public_key(private) : NULL;
	if (!key || !key->get_encoding(key, PUBKEY_SPKI_ASN1_DER, &spki))
	{
		encsync_core_log(3, "our own key cannot be used: this charon has no "
						 "Ed25519");
		DESTROY_IF(key);
		DESTROY_IF(private);
		return NULL;
	}
	/* the raw key is at its end (RFC 8410) */
	memcpy(public, spki.ptr + spki.len - ENCSYNC_KEY_SIZE, ENCSYNC_KEY_SIZE);
	chunk_free(&spki);
	key->destroy(key);
	return private;
}

METHOD(encsync_creds_t, set_identity, void,
	private_encsync_creds_t *this, const char *name,
	const uint8_t seed[ENCSYNC_KEY_SIZE], const uint8_t *next)
{
	uint8_t publics[2][ENCSYNC_KEY_SIZE] = {}, id;
	private_key_t *private, *private_next = NULL;
	certificate_t *cert;
	mem_cred_t *fresh;

	private = load_private(seed, publics[0]);
	if (private && next)
	{
		private_next = load_private(next, publics[1]);
	}
	if (!private || (next && !private_next))
	{
		DESTROY_IF(private);
		return;
	}
	cert = encsync_auth_bind(encsync_auth_public(publics[0]), name);
	if (!cert)
	{
		private->destroy(private);
		DESTROY_IF(private_next);
		encsync_core_log(3, "our own key cannot be used: this charon has no "
						 "raw public keys");
		return;
	}
	this->mutex->lock(this->mutex);
	memcpy(this->publics, publics, sizeof(publics));
	this->count = next ? 2 : 1;
	this->mutex->unlock(this->mutex);
	fresh = mem_cred_create();
	fresh->add_cert(fresh, FALSE, cert);
	fresh->add_key(fresh, private);
	if (private_next)
	{
		fresh->add_key(fresh, private_next);
	}
	replace_set(&this->own, fresh);
	for (id = 0; id < ENCSYNC_MAX_PEERS; id++)
	{
		set_alias(this, id);
	}
}

METHOD(encsync_creds_t, get_public, bool,
	private_encsync_creds_t *this, uint8_t id, uint8_t key[ENCSYNC_KEY_SIZE])
{
	bool found, next;

	this->mutex->lock(this->mutex);
	found = this->count > 0;
	next = this->count > 1 && id < ENCSYNC_MAX_PEERS && this->next_key[id];
	memcpy(key, this->publics[next ? 1 : 0], ENCSYNC_KEY_SIZE);
	this->mutex->unlock(this->mutex);
	return found;
}

METHOD(encsync_creds_t, to_show, bool,
	private_encsync_creds_t *this, uint8_t id, uint8_t shown[ENCSYNC_KEY_SIZE])
{
	bool other = FALSE;

	if (id < ENCSYNC_MAX_PEERS)
	{
		this->mutex->lock(this->mutex);
		other = this->others[id].set;
		memcpy(shown, this->others[id].id, ENCSYNC_KEY_SIZE);
		this->mutex->unlock(this->mutex);
	}
	return other || get_public(this, id, shown);
}

METHOD(encsync_creds_t, sign_with, void,
	private_encsync_creds_t *this, const encsync_peer_t *peer, auth_cfg_t *auth)
{
	uint8_t key[ENCSYNC_KEY_SIZE];
	certificate_t *cert;

	/* the first one is found by our identity */
	if (peer->next_key && this->count > 1 && get_public(this, peer->id, key))
	{
		cert = encsync_auth_bind(encsync_auth_public(key), peer->leftid);
		if (cert)
		{
			auth->add(auth, AUTH_RULE_SUBJECT_CERT, cert);
		}
	}
}

/**
 * Replace everything about a peer
 */
static void replace_peer(private_encsync_creds_t *this, uint8_t id,
						 mem_cred_t *fresh, const encsync_peer_t *peer,
						 const char *fingerprints)
{
	replace_set(&this->peers[id], fresh);
	free(this->left_ids[id]);
	this->left_ids[id] = peer ? strdup(peer->leftid) : NULL;
	set_alias(this, id);
	this->mutex->lock(this->mutex);
	this->next_key[id] = peer && peer->next_key;
	this->others[id].set = peer && encsync_auth_to_show(peer, this->others[id].id);
	snprintf(this->fingerprints[id], MAX_FINGERPRINTS, "%s", fingerprints);
	this->mutex->unlock(this->mutex);
}

METHOD(encsync_creds_t, set_peer, void,
	private_encsync_creds_t *this, const encsync_peer_t *peer)
{
	const encsync_credential_t *each;
	mem_cred_t *fresh;
	char all[MAX_FINGERPRINTS] = "", one[64];
	size_t i, len;

	fresh = mem_cred_create();
	encsync_auth_load(fresh, peer);
	for (i = 0; i < peer->credential_count; i++)
	{
		each = &peer->credentials[i];
		if (each->kind == ENCSYNC_TRUSTED)
		{
			encsync_fingerprint(each->data, one, sizeof(one));
			len = strlen(all);
			snprintf(all + len, sizeof(all) - len, "%s%s", len ? ", " : "", one);
		}
	}
	replace_peer(this, peer->id, fresh, peer, all);
}

METHOD(encsync_creds_t, remove_peer, void,
	private_encsync_creds_t *this, uint8_t id)
{
	replace_peer(this, id, NULL, NULL, "");
}

METHOD(encsync_creds_t, note, void,
	private_encsync_creds_t *this, ike_sa_t *ike_sa)
{
	uint8_t key[ENCSYNC_KEY_SIZE];

	/* a preshared key has been noted when it was used */
	if ((uintptr_t)encsync_auth_rule(ike_sa, TRUE, AUTH_RULE_AUTH_CLASS) !=
		AUTH_CLASS_PSK)
	{
		encsync_auth_note(ike_sa,
						  get_public(this, ENCSYNC_NO_PEER, key) ? key : NULL);
	}
}

METHOD(encsync_creds_t, get_fingerprint, void,
	private_encsync_creds_t *this, uint8_t id, char *buf, size_t len)
{
	uint8_t key[ENCSYNC_KEY_SIZE];

	buf[0] = '\0';
	if (get_public(this, id, key))
	{
		encsync_fingerprint(key, buf, len);
	}
}

METHOD(encsync_creds_t, get_trusted, void,
	private_encsync_creds_t *this, uint8_t id, char *buf, size_t len)
{
	buf[0] = '\0';
	if (id < ENCSYNC_MAX_PEERS)
	{
		this->mutex->lock(this->mutex);
		snprintf(buf, len, "%s", this->fingerprints[id]);
		this->mutex->unlock(this->mutex);
	}
}

METHOD(encsync_creds_t, destroy, void,
	private_encsync_creds_t *this)
{
	uint8_t id;

	for (id = 0; id < ENCSYNC_MAX_PEERS; id++)
	{
		replace_peer(this, id, NULL, NULL, "");
	}
	replace_set(&this->own, NULL);
	this->mutex->destroy(this->mutex);
	free(this);
}

/*
 * Described in header.
 */
encsync_creds_t *encsync_creds_create()
{
	private_encsync_creds_t *this;

	INIT(this,
		.public = {
			.set_identity = _set_identity,
			.get_public = _get_public,
			.to_show = _to_show,
			.sign_with = _sign_with,
			.note = _note,
			.set_peer = _set_peer,
			.remove_peer = _remove_peer,
			.get_fingerprint = _get_fingerprint,
			.get_trusted = _get_trusted,
			.destroy = _destroy,
		},
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
	);

	return &this->public;
}
