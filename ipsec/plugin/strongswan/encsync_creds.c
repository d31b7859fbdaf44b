/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_creds.h"
#include "encsync_auth.h"
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
	 * Our private key, and a certificate that binds it to our identity; NULL
	 * until we have one
	 */
	mem_cred_t *own;

	/**
	 * The keys trusted for each peer
	 */
	mem_cred_t *peers[ENCSYNC_MAX_PEERS];

	/**
	 * Certificates that bind our key to our identity towards a peer (leftid),
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
	 * Our public key
	 */
	uint8_t own_public[ENCSYNC_KEY_SIZE];

	/**
	 * Fingerprint of our own key
	 */
	char own_fingerprint[64];

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
		cert = encsync_auth_bind(encsync_auth_public(this->own_public), this->left_ids[id]);
		if (cert)
		{
			fresh = mem_cred_create();
			fresh->add_cert(fresh, FALSE, cert);
		}
	}
	replace_set(&this->aliases[id], fresh);
}

METHOD(encsync_creds_t, set_identity, void,
	private_encsync_creds_t *this, const char *name,
	const uint8_t seed[ENCSYNC_KEY_SIZE])
{
	mem_cred_t *fresh;
	private_key_t *private;
	certificate_t *cert;
	public_key_t *public;
	chunk_t wrapped, spki;
	char fingerprint[64];
	uint8_t id;

	/* RFC 8410: the private key is an OCTET STRING */
	wrapped = asn1_wrap(ASN1_OCTET_STRING, "c",
						chunk_create((u_char*)seed, ENCSYNC_KEY_SIZE));
	private = lib->creds->create(lib->creds, CRED_PRIVATE_KEY, KEY_ED25519,
						BUILD_EDDSA_PRIV_ASN1_DER, wrapped, BUILD_END);
	chunk_clear(&wrapped);
	if (!private)
	{
		encsync_core_log(3, "our own key cannot be used: this charon has no "
						 "Ed25519");
		return;
	}
	public = private->get_public_key(private);
	if (public && public->get_encoding(public, PUBKEY_SPKI_ASN1_DER, &spki))
	{	/* the raw key is at its end (RFC 8410) */
		this->mutex->lock(this->mutex);
		memcpy(this->own_public, spki.ptr + spki.len - ENCSYNC_KEY_SIZE,
			   ENCSYNC_KEY_SIZE);
		encsync_fingerprint(this->own_public, fingerprint, sizeof(fingerprint));
		snprintf(this->own_fingerprint, sizeof(this->own_fingerprint), "%s",
				 fingerprint);
		this->mutex->unlock(this->mutex);
		chunk_free(&spki);
	}
	cert = encsync_auth_bind(public, name);
	if (!cert)
	{
		private->destroy(private);
		encsync_core_log(3, "our own key cannot be used: this charon has no "
						 "raw public keys");
		return;
	}
	fresh = mem_cred_create();
	fresh->add_cert(fresh, FALSE, cert);
	fresh->add_key(fresh, private);
	replace_set(&this->own, fresh);
	for (id = 0; id < ENCSYNC_MAX_PEERS; id++)
	{
		set_alias(this, id);
	}
}

METHOD(encsync_creds_t, get_public, bool,
	private_encsync_creds_t *this, uint8_t key[ENCSYNC_KEY_SIZE])
{
	bool found;

	this->mutex->lock(this->mutex);
	memcpy(key, this->own_public, ENCSYNC_KEY_SIZE);
	found = this->own_fingerprint[0] != '\0';
	this->mutex->unlock(this->mutex);
	return found;
}

/**
 * Replace everything about a peer
 */
static void replace_peer(private_encsync_creds_t *this, uint8_t id,
						 mem_cred_t *fresh, const char *left_id,
						 const char *fingerprints)
{
	replace_set(&this->peers[id], fresh);
	free(this->left_ids[id]);
	this->left_ids[id] = left_id ? strdup(left_id) : NULL;
	set_alias(this, id);
	this->mutex->lock(this->mutex);
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
	replace_peer(this, peer->id, fresh, peer->leftid, all);
}

METHOD(encsync_creds_t, remove_peer, void,
	private_encsync_creds_t *this, uint8_t id)
{
	replace_peer(this, id, NULL, NULL, "");
}

METHOD(encsync_creds_t, remember, void,
	private_encsync_creds_t *this, ike_sa_t *ike_sa)
{
	uint8_t key[ENCSYNC_KEY_SIZE];
	certificate_t *cert;
	auth_cfg_t *auth;

	if (!get_public(this, key))
	{
		return;
	}
	cert = encsync_auth_bind(encsync_auth_public(key), "");
	if (cert)
	{
		auth = auth_cfg_create();
		auth->add(auth, AUTH_RULE_SUBJECT_CERT, cert);
		ike_sa->add_auth_cfg(ike_sa, TRUE, auth);
	}
}

METHOD(encsync_creds_t, get_fingerprint, void,
	private_encsync_creds_t *this, char *buf, size_t len)
{
	this->mutex->lock(this->mutex);
	snprintf(buf, len, "%s", this->own_fingerprint);
	this->mutex->unlock(this->mutex);
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
			.remember = _remember,
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
