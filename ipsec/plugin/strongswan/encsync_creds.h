/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * Our private key, and the credentials that peers may authenticate with: public
 * keys, certificates of an authority, or a preshared key. Nothing else is
 * accepted: charon reads no credentials from files.
 */

#ifndef ENCSYNC_CREDS_H_
#define ENCSYNC_CREDS_H_

#include <credentials/credential_set.h>
#include <sa/ike_sa.h>

#include "core.h"

typedef struct encsync_creds_t encsync_creds_t;

/**
 * Credentials, as received from encsyncd.
 */
struct encsync_creds_t {

	/**
	 * Replace our identity.
	 *
	 * @param name		our IKE identity
	 * @param seed		Ed25519 seed of the key to sign with
	 * @param next		that of the key that is to replace it, or NULL
	 */
	void (*set_identity)(encsync_creds_t *this, const char *name,
						 const uint8_t seed[ENCSYNC_KEY_SIZE],
						 const uint8_t *next);

	/**
	 * Get the public key of ours with which we sign towards a peer.
	 *
	 * @param id		id of the peer; none: the first key
	 * @param key		filled with it
	 * @return			FALSE if there is none yet
	 */
	bool (*get_public)(encsync_creds_t *this, uint8_t id,
					   uint8_t key[ENCSYNC_KEY_SIZE]);

	/**
	 * Get what is to authenticate us to a peer, as encsync_auth_shown() returns it.
	 *
	 * @return			FALSE if there is nothing yet
	 */
	bool (*to_show)(encsync_creds_t *this, uint8_t id,
					uint8_t shown[ENCSYNC_KEY_SIZE]);

	/**
	 * Choose the next key for our authentication to a peer, if that is asked for.
	 *
	 * @param peer		the peer, as given to set_peer()
	 * @param auth		our authentication
	 */
	void (*sign_with)(encsync_creds_t *this, const encsync_peer_t *peer,
					  auth_cfg_t *auth);

	/**
	 * Note in an IKE_SA what we authenticate with; charon does so for the peer's
	 * key only.
	 *
	 * @param ike_sa	IKE_SA for which our AUTH payload has just been made
	 */
	void (*note)(encsync_creds_t *this, ike_sa_t *ike_sa);

	/**
	 * Replace the credentials that are trusted for a peer.
	 *
	 * @param peer		the peer
	 */
	void (*set_peer)(encsync_creds_t *this, const encsync_peer_t *peer);

	/**
	 * Remove all credentials that are trusted for a peer.
	 *
	 * @param id		id of the peer
	 */
	void (*remove_peer)(encsync_creds_t *this, uint8_t id);

	/**
	 * Get the fingerprint of the key with which we sign towards a peer.
	 *
	 * @param id		id of the peer
	 * @param buf		buffer of at least 64 bytes
	 */
	void (*get_fingerprint)(encsync_creds_t *this, uint8_t id, char *buf, size_t len);

	/**
	 * List the fingerprints of the keys trusted for a peer.
	 *
	 * @param id		id of the peer
	 */
	void (*get_trusted)(encsync_creds_t *this, uint8_t id, char *buf, size_t len);

	/**
	 * Destroy an encsync_creds_t.
	 */
	void (*destroy)(encsync_creds_t *this);
};

/**
 * Create an encsync_creds_t instance.
 */
encsync_creds_t *encsync_creds_create();

#endif /** ENCSYNC_CREDS_H_ */
