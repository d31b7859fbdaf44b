/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "compat.h"
#include "convert.h"

/*
 * Described in header.
 */
host_t *encsync_to_host(const encsync_address_t *address, uint16_t port)
{
	chunk_t chunk = chunk_create((u_char*)address->bytes, address->ipv6 ? 16 : 4);

	return host_create_from_chunk(address->ipv6 ? AF_INET6 : AF_INET, chunk,
								  port);
}

/*
 * Described in header.
 */
encsync_address_t encsync_from_host(host_t *host)
{
	encsync_address_t address = {};
	chunk_t chunk;

	chunk = host->get_address(host);
	memcpy(address.bytes, chunk.ptr, min(chunk.len, sizeof(address.bytes)));
	address.ipv6 = host->get_family(host) == AF_INET6;
	return address;
}

/*
 * Described in header.
 */
uint8_t encsync_peer_of(ike_sa_t *ike_sa)
{
	encsync_address_t address;
	peer_cfg_t *cfg;
	host_t *host;

	if (!ike_sa)
	{
		return ENCSYNC_NO_PEER;
	}
	cfg = ike_sa->get_peer_cfg(ike_sa);
	if (cfg)
	{
		return encsync_core_peer_by_name(cfg->get_name(cfg));
	}
	host = ike_sa->get_other_host(ike_sa);
	if (!host || host->is_anyaddr(host))
	{
		return ENCSYNC_NO_PEER;
	}
	address = encsync_from_host(host);
	return encsync_core_peer_by_address(&address);
}

/*
 * Described in header.
 */
identification_t *encsync_fqdn(const char *name)
{
	return identification_create_from_encoding(ID_FQDN,
								chunk_create((u_char*)name, strlen(name)));
}

/*
 * Described in header.
 */
certificate_t *encsync_x509(const uint8_t *der, size_t len)
{
	return lib->creds->create(lib->creds, CRED_CERTIFICATE, CERT_X509,
							  ENCSYNC_PART(BUILD_BLOB_ASN1_DER),
							  chunk_create((u_char*)der, len),
							  ENCSYNC_PART(BUILD_END));
}

/*
 * Described in header.
 */
bool encsync_key_of(certificate_t *cert, uint8_t key[ENCSYNC_KEY_SIZE])
{
	public_key_t *public;
	chunk_t spki;
	bool found = FALSE;

	if (cert->get_type(cert) != CERT_TRUSTED_PUBKEY)
	{
		return FALSE;
	}
	public = cert->get_public_key(cert);
	if (public && public->get_type(public) == KEY_ED25519 &&
		public->get_encoding(public, PUBKEY_SPKI_ASN1_DER, &spki))
	{	/* the raw key is at its end (RFC 8410) */
		memcpy(key, spki.ptr + spki.len - ENCSYNC_KEY_SIZE, ENCSYNC_KEY_SIZE);
		chunk_free(&spki);
		found = TRUE;
	}
	DESTROY_IF(public);
	return found;
}

/*
 * Described in header.
 */
bool encsync_get_key(ike_sa_t *ike_sa, uint8_t key[ENCSYNC_KEY_SIZE])
{
	enumerator_t *enumerator;
	certificate_t *cert;
	auth_cfg_t *auth;
	bool found = FALSE;

	enumerator = ike_sa->create_auth_cfg_enumerator(ike_sa, FALSE);
	while (!found && enumerator->enumerate(enumerator, &auth))
	{
		cert = auth->get(auth, AUTH_RULE_SUBJECT_CERT);
		found = cert && encsync_key_of(cert, key);
	}
	enumerator->destroy(enumerator);
	return found;
}

/*
 * Described in header.
 */
bool encsync_digest(chunk_t data, uint8_t digest[HASH_SIZE_SHA256])
{
	hasher_t *hasher;
	bool done;

	hasher = lib->crypto->create_hasher(lib->crypto, HASH_SHA256);
	done = hasher && hasher->get_hash(hasher, data, digest);
	DESTROY_IF(hasher);
	return done;
}

/*
 * Described in header.
 */
void encsync_key_exchanges(ike_sa_t *ike_sa, char *buf, size_t len)
{
	proposal_t *proposal;
	uint16_t method;
	size_t used;
	int type;

	buf[0] = '\0';
	proposal = ike_sa->get_proposal(ike_sa);
	if (!proposal ||
		!proposal->get_algorithm(proposal, KEY_EXCHANGE_METHOD, &method, NULL))
	{
		return;
	}
	snprintf(buf, len, "%N", key_exchange_method_names_short, method);
	for (type = ADDITIONAL_KEY_EXCHANGE_1; type <= ADDITIONAL_KEY_EXCHANGE_7; type++)
	{
		if (proposal->get_algorithm(proposal, type, &method, NULL) &&
			method != KE_NONE)
		{
			used = strlen(buf);
			snprintf(buf + used, len - used, "-ke%d_%N",
					 type - ADDITIONAL_KEY_EXCHANGE_1 + 1,
					 key_exchange_method_names_short, method);
		}
	}
}

/*
 * Described in header.
 */
void encsync_fingerprint(const uint8_t key[ENCSYNC_KEY_SIZE], char *buf, size_t len)
{
	char base64[(HASH_SIZE_SHA256 + 2) / 3 * 4 + 1];
	uint8_t hash[HASH_SIZE_SHA256];
	chunk_t encoded;

	snprintf(buf, len, "unknown fingerprint");
	if (encsync_digest(chunk_create((u_char*)key, ENCSYNC_KEY_SIZE), hash))
	{
		encoded = chunk_to_base64(chunk_from_thing(hash), base64);
		while (encoded.len && base64[encoded.len - 1] == '=')
		{
			base64[--encoded.len] = '\0';
		}
		snprintf(buf, len, "SHA256:%s", base64);
	}
}
