/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Between strongSwan's types and those of core.h.
 */

#ifndef ENCSYNC_CONVERT_H_
#define ENCSYNC_CONVERT_H_

#include <daemon.h>

#include "core.h"

/** A host of an address and a port (host order). */
host_t *encsync_to_host(const encsync_address_t *address, uint16_t port);

/** The address of a host. */
encsync_address_t encsync_from_host(host_t *host);

/** The peer that an IKE_SA is with: by its configuration or, before there is one, by address. */
uint8_t encsync_peer_of(ike_sa_t *ike_sa);

/** An IKE identity of the type FQDN. */
identification_t *encsync_fqdn(const char *name);

/** A certificate from its DER; NULL if it is none. */
certificate_t *encsync_x509(const uint8_t *der, size_t len);

/** The raw public key with which the peer of an IKE_SA authenticated; FALSE: there is none. */
bool encsync_get_key(ike_sa_t *ike_sa, uint8_t key[ENCSYNC_KEY_SIZE]);

/** The raw public key in a certificate; FALSE: it is of another kind. */
bool encsync_key_of(certificate_t *cert, uint8_t key[ENCSYNC_KEY_SIZE]);

/** SHA-256. */
bool encsync_digest(chunk_t data, uint8_t digest[HASH_SIZE_SHA256]);

/** room for the key exchanges of an IKE_SA, as text */
#define ENCSYNC_KEY_EXCHANGES_SIZE 128

/** The key exchanges of an IKE_SA in the notation of proposals: "curve25519-ke1_mlkem768". */
void encsync_key_exchanges(ike_sa_t *ike_sa, char *buf, size_t len);

/** The fingerprint of a public key, as "encsync keys show" prints it. Buffer of 64 bytes. */
void encsync_fingerprint(const uint8_t key[ENCSYNC_KEY_SIZE], char *buf, size_t len);

#endif /* ENCSYNC_CONVERT_H_ */
