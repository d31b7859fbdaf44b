/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_creds.h"
#include "convert.h"

#include <daemon.h>
#include <asn1/asn1.h>
#include <credentials/sets/mem_cred.h>
#include <threading/mutex.h>

/** what is listed of a peer's keys */
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
	 * Lock for the texts below
	 */
	mutex_t *mutex;

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
 * Create a "certificate" that says no more than that a key belongs to an
 * identity; the key is adopted.
 */
static certificate_t *create_cert(public_key_t *key, const char *id)
{
	certificate_t *cert;
	identification_t *subject;

	if (!key)
	{
		return NULL;
	}
	subject = identification_create_from_encoding(ID_FQDN,
									chunk_create((u_char*)id, strlen(id)));
	cert = lib->creds->create(lib->creds, CRED_CERTIFICATE, CERT_TRUSTED_PUBKEY,
							  BUILD_PUBLIC_KEY, key, BUILD_SUBJECT, subject,
							  BUILD_END);
	subject->destroy(subject);
	key->destroy(key);
	return cert;
}

/**
 * Create a public key from its 32 bytes
 */
static public_key_t *create_public(const uint8_t key[ENCSYNC_KEY_SIZE])
{
	return lib->creds->create(lib->creds, CRED_PUBLIC_KEY, KEY_ED25519,
					BUILD_EDDSA_PUB,
					chunk_create((u_char*)key, ENCSYNC_KEY_SIZE), BUILD_END);
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
		encsync_fingerprint(spki.ptr + spki.len - ENCSYNC_KEY_SIZE,
							fingerprint, sizeof(fingerprint));
		this->mutex->lock(this->mutex);
		snprintf(this->own_fingerprint, sizeof(this->own_fingerprint), "%s",
				 fingerprint);
		this->mutex->unlock(this->mutex);
		chunk_free(&spki);
	}
	cert = create_cert(public, name);
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
	/* the new one first: who signs just now finds a certificate and its key */
	lib->credmgr->add_set(lib->credmgr, &fresh->set);
	if (this->own)
	{
		lib->credmgr->remove_set(lib->credmgr, &this->own->set);
		this->own->destroy(this->own);
	}
	this->own = fresh;
	lib->credmgr->flush_cache(lib->credmgr, CERT_ANY);
}

/**
 * Forget everything about a peer
 */
static void forget(private_encsync_creds_t *this, uint8_t id)
{
	if (this->peers[id])
	{
		lib->credmgr->remove_set(lib->credmgr, &this->peers[id]->set);
		this->peers[id]->destroy(this->peers[id]);
		this->peers[id] = NULL;
	}
	this->mutex->lock(this->mutex);
	this->fingerprints[id][0] = '\0';
	this->mutex->unlock(this->mutex);
	lib->credmgr->flush_cache(lib->credmgr, CERT_ANY);
}

METHOD(encsync_creds_t, set_peer, void,
	private_encsync_creds_t *this, const encsync_peer_t *peer)
{
	mem_cred_t *fresh;
	certificate_t *cert;
	shared_key_t *shared;
	char all[MAX_FINGERPRINTS] = "", one[64];
	size_t i, len;

	fresh = mem_cred_create();
	for (i = 0; i < peer->trusted_count; i++)
	{
		cert = create_cert(create_public(peer->trusted[i]), peer->right_id);
		if (cert)
		{
			fresh->add_cert(fresh, TRUE, cert);
		}
		encsync_fingerprint(peer->trusted[i], one, sizeof(one));
		len = strlen(all);
		snprintf(all + len, sizeof(all) - len, "%s%s", i ? ", " : "", one);
	}
	if (peer->psk_len)
	{
		shared = shared_key_create(SHARED_IKE,
				chunk_clone(chunk_create((u_char*)peer->psk, peer->psk_len)));
		fresh->add_shared(fresh, shared,
				identification_create_from_encoding(ID_FQDN,
						chunk_create((u_char*)peer->left_id,
									 strlen(peer->left_id))),
				identification_create_from_encoding(ID_FQDN,
						chunk_create((u_char*)peer->right_id,
									 strlen(peer->right_id))),
				NULL);
	}
	/* the new ones first: a peer that proves itself just now finds a key */
	lib->credmgr->add_set(lib->credmgr, &fresh->set);
	forget(this, peer->id);
	this->peers[peer->id] = fresh;
	this->mutex->lock(this->mutex);
	memcpy(this->fingerprints[peer->id], all, sizeof(all));
	this->mutex->unlock(this->mutex);
}

METHOD(encsync_creds_t, remove_peer, void,
	private_encsync_creds_t *this, uint8_t id)
{
	forget(this, id);
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
		forget(this, id);
	}
	if (this->own)
	{
		lib->credmgr->remove_set(lib->credmgr, &this->own->set);
		this->own->destroy(this->own);
	}
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
