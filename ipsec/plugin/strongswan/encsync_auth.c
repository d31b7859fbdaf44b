/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_auth.h"
#include "compat.h"
#include "convert.h"
#include "encsync_ppk.h"
#include "encsync_psk.h"

#include <daemon.h>

/*
 * Described in header.
 */
certificate_t *encsync_auth_bind(public_key_t *key, const char *id)
{
	certificate_t *cert;
	identification_t *subject;

	if (!key)
	{
		return NULL;
	}
	subject = encsync_fqdn(id);
	cert = lib->creds->create(lib->creds, CRED_CERTIFICATE, CERT_TRUSTED_PUBKEY,
							  ENCSYNC_PART(BUILD_PUBLIC_KEY), key,
							  ENCSYNC_PART(BUILD_SUBJECT), subject,
							  ENCSYNC_PART(BUILD_END));
	subject->destroy(subject);
	key->destroy(key);
	return cert;
}

/*
 * Described in header.
 */
public_key_t *encsync_auth_public(const uint8_t key[ENCSYNC_KEY_SIZE])
{
	return lib->creds->create(lib->creds, CRED_PUBLIC_KEY, KEY_ED25519,
					ENCSYNC_PART(BUILD_EDDSA_PUB),
					chunk_create((u_char*)key, ENCSYNC_KEY_SIZE),
					ENCSYNC_PART(BUILD_END));
}

/**
 * Check if the ends are configured to authenticate with a preshared key
 */
static bool with_psk(ike_sa_t *ike_sa)
{
	return (uintptr_t)encsync_auth_rule(ike_sa, FALSE, AUTH_RULE_AUTH_CLASS) ==
		   AUTH_CLASS_PSK;
}

static void load_trusted(mem_cred_t *set, const encsync_peer_t *peer,
						 const encsync_credential_t *key)
{
	certificate_t *cert;

	cert = encsync_auth_bind(encsync_auth_public(key->data), peer->rightid);
	if (cert)
	{
		set->add_cert(set, TRUE, cert);
	}
}

static bool explain_trusted(ike_sa_t *ike_sa, const char *who,
							const char *trusted, char *buf, size_t len)
{
	uint8_t key[ENCSYNC_KEY_SIZE];
	char shown[64];

	if (!encsync_core_credentials(encsync_peer_of(ike_sa), ENCSYNC_TRUSTED))
	{
		snprintf(buf, len, "%s: no key of it is trusted here "
				 "(encsync keys trust FILE)", who);
	}
	else if (encsync_get_key(ike_sa, key))
	{
		encsync_fingerprint(key, shown, sizeof(shown));
		snprintf(buf, len, "%s: it proved itself with the key %s, "
				 "which is trusted for another peer (trusted: %s)", who, shown,
				 trusted);
	}
	else
	{
		snprintf(buf, len, "%s: no trusted key matches the one it "
				 "signed with (trusted: %s)", who, trusted);
	}
	return TRUE;
}

static bool explain_refusal_trusted(ike_sa_t *ike_sa, const char *who,
									const char *own, char *buf, size_t len)
{
	snprintf(buf, len, "%s refused us: is our key %s trusted "
			 "there, and our id '%Y' its rightid?%s", who, own,
			 ike_sa->get_my_id(ike_sa),
			 ike_sa->has_condition(ike_sa, COND_PPK) ? "" :
			 " Or does it require a post-quantum preshared key? None was used");
	return TRUE;
}

static bool explain_psk(ike_sa_t *ike_sa, const char *who, const char *trusted,
						char *buf, size_t len)
{
	if (!with_psk(ike_sa))
	{
		return FALSE;
	}
	snprintf(buf, len, "%s: its preshared key is not ours", who);
	return TRUE;
}

static bool explain_refusal_psk(ike_sa_t *ike_sa, const char *who,
								const char *own, char *buf, size_t len)
{
	if (!with_psk(ike_sa))
	{
		return FALSE;
	}
	snprintf(buf, len, "%s refused us: has it the same preshared "
			 "key, and our id '%Y' as its rightid?", who,
			 ike_sa->get_my_id(ike_sa));
	return TRUE;
}

/**
 * Add an X.509 certificate; log an error if it cannot be parsed
 */
static void load_x509(mem_cred_t *set, const encsync_peer_t *peer,
					  const encsync_credential_t *der, bool trusted,
					  const char *keyword)
{
	certificate_t *cert;
	char text[256];

	cert = encsync_x509(der->data, der->len);
	if (cert)
	{
		set->add_cert(set, trusted, cert);
		return;
	}
	snprintf(text, sizeof(text), "%s: the certificate of %s cannot be read",
			 peer->name, keyword);
	encsync_core_log(3, text);
}

static void add_x509_rule(auth_cfg_t *auth, const encsync_credential_t *der,
						  auth_rule_t rule)
{
	certificate_t *cert;

	cert = encsync_x509(der->data, der->len);
	if (cert)
	{
		auth->add(auth, rule, cert);
	}
}

static void load_certificate(mem_cred_t *set, const encsync_peer_t *peer,
							 const encsync_credential_t *der)
{
	load_x509(set, peer, der, FALSE, "leftcert");
}

static void configure_certificate(ike_cfg_create_t *ike, peer_cfg_create_t *cfg)
{
	cfg->cert_policy = CERT_ALWAYS_SEND;
}

static void add_certificate(auth_cfg_t *auth, bool local,
							const encsync_credential_t *der)
{
	if (local)
	{
		add_x509_rule(auth, der, AUTH_RULE_SUBJECT_CERT);
	}
}

static bool explain_refusal_certificate(ike_sa_t *ike_sa, const char *who,
										const char *own, char *buf, size_t len)
{
	if (!encsync_core_credentials(encsync_peer_of(ike_sa), ENCSYNC_CERTIFICATE))
	{
		return FALSE;
	}
	snprintf(buf, len, "%s refused us: does it trust the authority "
			 "of our leftcert, and is our id '%Y' its rightid?", who,
			 ike_sa->get_my_id(ike_sa));
	return TRUE;
}

static void load_ca(mem_cred_t *set, const encsync_peer_t *peer,
					const encsync_credential_t *der)
{
	load_x509(set, peer, der, TRUE, "rightca");
}

static void configure_ca(ike_cfg_create_t *ike, peer_cfg_create_t *cfg)
{
	ike->no_certreq = FALSE;
}

static void add_ca(auth_cfg_t *auth, bool local, const encsync_credential_t *der)
{
	if (!local)
	{
		add_x509_rule(auth, der, AUTH_RULE_CA_CERT);
	}
}

static bool explain_ca(ike_sa_t *ike_sa, const char *who, const char *trusted,
					   char *buf, size_t len)
{
	if (!encsync_core_credentials(encsync_peer_of(ike_sa), ENCSYNC_CA))
	{
		return FALSE;
	}
	snprintf(buf, len, "%s: it showed no valid certificate for "
			 "'%Y' that the authority in rightca has issued", who,
			 ike_sa->get_other_id(ike_sa));
	return TRUE;
}

/**
 * How charon uses each kind of credential; a function may be NULL. Explanations
 * are tried in this order until one applies, so raw public keys come last: they
 * apply to a peer that has nothing else.
 */
typedef struct {
	encsync_credential_kind_t kind;
	/* AUTH_CLASS_ANY: the other credentials decide */
	auth_class_t auth_class;
	void (*load)(mem_cred_t *set, const encsync_peer_t *peer,
				 const encsync_credential_t *credential);
	void (*configure)(ike_cfg_create_t *ike, peer_cfg_create_t *cfg);
	void (*add)(auth_cfg_t *auth, bool local,
				const encsync_credential_t *credential);
	bool (*explain)(ike_sa_t *ike_sa, const char *who, const char *trusted,
					char *buf, size_t len);
	bool (*explain_refusal)(ike_sa_t *ike_sa, const char *who, const char *own,
							char *buf, size_t len);
} kind_t;

static const kind_t kinds[] = {
	{ ENCSYNC_PSK, AUTH_CLASS_PSK, encsync_psk_load, NULL, NULL,
	  explain_psk, explain_refusal_psk },
	{ ENCSYNC_CERTIFICATE, AUTH_CLASS_ANY, load_certificate,
	  configure_certificate, add_certificate, NULL, explain_refusal_certificate },
	{ ENCSYNC_CA, AUTH_CLASS_ANY, load_ca, configure_ca, add_ca,
	  explain_ca, NULL },
	{ ENCSYNC_PPK, AUTH_CLASS_ANY, encsync_ppk_load, NULL, NULL, NULL, NULL },
	{ ENCSYNC_TRUSTED, AUTH_CLASS_ANY, load_trusted, NULL, NULL,
	  explain_trusted, explain_refusal_trusted },
};

/**
 * Find a credential's kind in the table; NULL if it is unknown
 */
static const kind_t *find_kind(const encsync_credential_t *credential)
{
	size_t i;

	for (i = 0; i < countof(kinds); i++)
	{
		if (kinds[i].kind == credential->kind)
		{
			return &kinds[i];
		}
	}
	return NULL;
}

/*
 * Described in header.
 */
void encsync_auth_load(mem_cred_t *set, const encsync_peer_t *peer)
{
	const kind_t *kind;
	size_t i;

	encsync_psk_choose(set);
	/* a mem_cred_t enumerates what was added last first */
	for (i = peer->credential_count; i-- > 0;)
	{
		kind = find_kind(&peer->credentials[i]);
		if (kind && kind->load)
		{
			kind->load(set, peer, &peer->credentials[i]);
		}
	}
}

/*
 * Described in header.
 */
void encsync_auth_configure(const encsync_peer_t *peer, ike_cfg_create_t *ike,
							peer_cfg_create_t *cfg)
{
	const kind_t *kind;
	size_t i;

	ike->no_certreq = TRUE;
	cfg->cert_policy = CERT_NEVER_SEND;
	for (i = 0; i < peer->credential_count; i++)
	{
		kind = find_kind(&peer->credentials[i]);
		if (kind && kind->configure)
		{
			kind->configure(ike, cfg);
		}
	}
}

/**
 * The class of authentication that both ends use
 */
static auth_class_t class_of(const encsync_peer_t *peer)
{
	const kind_t *kind;
	size_t i;

	for (i = 0; i < peer->credential_count; i++)
	{
		kind = find_kind(&peer->credentials[i]);
		if (kind && kind->auth_class != AUTH_CLASS_ANY)
		{
			return kind->auth_class;
		}
	}
	return AUTH_CLASS_PUBKEY;
}

/*
 * Described in header.
 */
auth_cfg_t *encsync_auth_create(const encsync_peer_t *peer, bool local)
{
	auth_cfg_t *auth;
	const kind_t *kind;
	size_t i;

	auth = auth_cfg_create();
	auth->add(auth, AUTH_RULE_AUTH_CLASS, class_of(peer));
	auth->add(auth, AUTH_RULE_IDENTITY,
			  encsync_fqdn(local ? peer->leftid : peer->rightid));
	for (i = 0; i < peer->credential_count; i++)
	{
		kind = find_kind(&peer->credentials[i]);
		if (kind && kind->add)
		{
			kind->add(auth, local, &peer->credentials[i]);
		}
	}
	return auth;
}

/*
 * Described in header.
 */
void *encsync_auth_rule(ike_sa_t *ike_sa, bool local, auth_rule_t rule)
{
	enumerator_t *enumerator;
	auth_cfg_t *auth;
	peer_cfg_t *cfg;
	void *value = NULL;

	cfg = ike_sa->get_peer_cfg(ike_sa);
	if (cfg)
	{
		enumerator = cfg->create_auth_cfg_enumerator(cfg, local);
		if (enumerator->enumerate(enumerator, &auth))
		{
			value = auth->get(auth, rule);
		}
		enumerator->destroy(enumerator);
	}
	return value;
}

/*
 * Described in header.
 */
void encsync_auth_explain(ike_sa_t *ike_sa, const char *who,
						  const char *trusted, char *buf, size_t len)
{
	size_t i;

	if (encsync_ppk_explain(ike_sa, who, buf, len))
	{
		return;
	}
	for (i = 0; i < countof(kinds); i++)
	{
		if (kinds[i].explain &&
			kinds[i].explain(ike_sa, who, trusted, buf, len))
		{
			return;
		}
	}
}

/*
 * Described in header.
 */
void encsync_auth_explain_refusal(ike_sa_t *ike_sa, const char *who,
								  const char *own, char *buf, size_t len)
{
	size_t i;

	if (encsync_ppk_explain_refusal(ike_sa, who, buf, len))
	{
		return;
	}
	for (i = 0; i < countof(kinds); i++)
	{
		if (kinds[i].explain_refusal &&
			kinds[i].explain_refusal(ike_sa, who, own, buf, len))
		{
			return;
		}
	}
}

/**
 * What identifies a certificate: that of a raw public key only binds the key
 */
static bool get_id(certificate_t *cert, uint8_t id[ENCSYNC_KEY_SIZE])
{
	chunk_t der;
	bool done;

	if (encsync_key_of(cert, id))
	{
		return TRUE;
	}
	if (!cert->get_encoding(cert, CERT_ASN1_DER, &der))
	{
		return FALSE;
	}
	done = encsync_digest(der, id);
	chunk_free(&der);
	return done;
}

/*
 * Described in header.
 */
bool encsync_auth_to_show(const encsync_peer_t *peer, uint8_t id[ENCSYNC_KEY_SIZE])
{
	const encsync_credential_t *each;
	size_t i;

	for (i = 0; i < peer->credential_count; i++)
	{
		each = &peer->credentials[i];
		if (each->kind == ENCSYNC_PSK || each->kind == ENCSYNC_CERTIFICATE)
		{
			return encsync_digest(chunk_create((u_char*)each->data, each->len), id);
		}
	}
	return FALSE;
}

/**
 * Put what authenticates us into a configuration; charon itself does not use this rule
 */
static void add_id(auth_cfg_t *auth, const uint8_t id[ENCSYNC_KEY_SIZE])
{
	auth->add(auth, AUTH_RULE_XAUTH_IDENTITY, identification_create_from_encoding(
						ID_KEY_ID, chunk_create((u_char*)id, ENCSYNC_KEY_SIZE)));
}

/**
 * Get it
 */
static bool read_id(auth_cfg_t *auth, uint8_t id[ENCSYNC_KEY_SIZE])
{
	identification_t *shown;
	chunk_t data;

	shown = auth->get(auth, AUTH_RULE_XAUTH_IDENTITY);
	data = shown ? shown->get_encoding(shown) : chunk_empty;
	if (data.len != ENCSYNC_KEY_SIZE)
	{
		return FALSE;
	}
	memcpy(id, data.ptr, data.len);
	return TRUE;
}

/*
 * Described in header.
 */
void encsync_auth_note(ike_sa_t *ike_sa, const uint8_t *key)
{
	uint8_t id[ENCSYNC_KEY_SIZE];
	certificate_t *cert;
	auth_cfg_t *auth;

	auth = ike_sa->get_auth_cfg(ike_sa, TRUE);
	/* what was set for this IKE_SA: the peer may have another configuration by now */
	cert = encsync_auth_rule(ike_sa, TRUE, AUTH_RULE_SUBJECT_CERT);
	if (cert && get_id(cert, id))
	{
		add_id(auth, id);
	}
	else if (key)
	{
		add_id(auth, key);
	}
}

/*
 * Described in header.
 */
void encsync_auth_remember(ike_sa_t *ike_sa)
{
	uint8_t id[ENCSYNC_KEY_SIZE];
	auth_cfg_t *auth;

	if (read_id(ike_sa->get_auth_cfg(ike_sa, TRUE), id))
	{
		auth = auth_cfg_create();
		add_id(auth, id);
		ike_sa->add_auth_cfg(ike_sa, TRUE, auth);
	}
}

/*
 * Described in header.
 */
bool encsync_auth_shown(ike_sa_t *ike_sa, uint8_t id[ENCSYNC_KEY_SIZE])
{
	enumerator_t *enumerator;
	auth_cfg_t *auth;
	bool found = FALSE;

	enumerator = ike_sa->create_auth_cfg_enumerator(ike_sa, TRUE);
	while (!found && enumerator->enumerate(enumerator, &auth))
	{
		found = read_id(auth, id);
	}
	enumerator->destroy(enumerator);
	return found;
}
