/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The line between the plugin's two halves. The C half speaks strongSwan's interfaces; the C++
 * half (core.cpp) holds the channel to encsyncd, the peers, the table of SAs, and what follows
 * from them: when an SA may be sent on, when a peer is up, when to try it again.
 *
 * All functions may be called from any of charon's threads, except encsync_core_receive(), which
 * belongs to the receiving one. None of them calls back into charon but encsync_core_receive(),
 * through encsync_orders_t, with no lock held.
 */

#ifndef ENCSYNC_CORE_H_
#define ENCSYNC_CORE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ENCSYNC_NO_PEER 0xff
#define ENCSYNC_MAX_PEERS 15
/** IP protocol number of pfsync, the only thing our SAs carry */
#define ENCSYNC_PFSYNC 240
#define ENCSYNC_KEY_SIZE 32
/** A post-quantum preshared key (PPK): its id, then the secret. */
#define ENCSYNC_PPK_ID_SIZE 16
/** The id as text: "ppk." and hex digits. */
#define ENCSYNC_PPK_TEXT_SIZE (4 + 2 * ENCSYNC_PPK_ID_SIZE + 1)

/** An address: IPv4 in the first four bytes. */
typedef struct {
	uint8_t bytes[16];
	bool ipv6;
} encsync_address_t;

/** An address and a UDP port in host order. charon sees 500 and 4500 whatever the real ones. */
typedef struct {
	encsync_address_t address;
	uint16_t port;
} encsync_endpoint_t;

/** As ike::CredentialKind. */
typedef enum {
	ENCSYNC_TRUSTED = 1,	 /* a raw public key that the peer may authenticate with */
	ENCSYNC_PSK = 2,
	ENCSYNC_CERTIFICATE = 3, /* X.509 DER: our own */
	ENCSYNC_CA = 4,			 /* X.509 DER: the authority that issues the peer's */
	ENCSYNC_PPK = 5,		 /* the first is offered, all are accepted */
} encsync_credential_kind_t;

typedef struct {
	encsync_credential_kind_t kind;
	const uint8_t *data;
	size_t len;
} encsync_credential_t;

/** A peer from the configuration; strings and credentials are valid during the call only. */
typedef struct {
	uint8_t id;
	const char *name;
	const char *leftid;
	const char *rightid;
	encsync_address_t left;
	encsync_address_t right;
	encsync_address_t inner_left;
	encsync_address_t inner_right;
	const encsync_credential_t *credentials;
	size_t credential_count;
	const char *ike;
	const char *esp;
	uint32_t ikelifetime;
	uint32_t lifetime;
	uint32_t margintime;
	uint32_t dpddelay;
	bool transport_mode;
	bool ppk_required;
	bool next_key; /* sign with the next one, if there is one */
} encsync_peer_t;

/** Orders of encsyncd. Called from the receiving thread. */
typedef struct {
	/** seeds of Ed25519: of our key, and of the next one; NULL: there is none */
	void (*set_identity)(const char *name, const uint8_t seed[ENCSYNC_KEY_SIZE],
						 const uint8_t *next);
	/** a peer is new or has changed; its SAs are left alone */
	void (*set_peer)(const encsync_peer_t *peer);
	void (*remove_peer)(uint8_t id, const char *name);
	/** close all SAs with a peer */
	void (*terminate)(const char *name);
	/** close those SAs with a peer that were authenticated with a key no longer trusted */
	void (*cut)(const char *name);
	void (*initiate)(const char *name);
	void (*rekey)(const char *name, bool reauthenticate);
	/** rekey the CHILD_SA with this inbound SPI (host order) */
	void (*expire)(uint32_t spi, const encsync_address_t *dst);
	void (*ping)(uint32_t cookie);
	void (*shutdown)(void);
} encsync_orders_t;

typedef enum {
	ENCSYNC_NOTHING,  /* an order was carried out, or there was nothing to read */
	ENCSYNC_DATAGRAM, /* an IKE datagram */
	ENCSYNC_CLOSED,   /* encsyncd is gone */
} encsync_received_t;

typedef struct {
	encsync_endpoint_t from;
	encsync_endpoint_t to;
	const uint8_t *data; /* valid until the next call */
	size_t len;
} encsync_ike_t;

typedef enum {
	ENCSYNC_AES128GCM16 = 1,
	ENCSYNC_AES256GCM16 = 2,
	ENCSYNC_CHACHA20POLY1305 = 3,
} encsync_cipher_t;

typedef struct {
	uint32_t spi; /* host order */
	uint8_t peer;
	bool inbound;
	encsync_cipher_t cipher;
	bool esn;
	bool transport;
	uint16_t replay_window;
	encsync_address_t dst; /* outer */
	encsync_address_t inner_src;
	encsync_address_t inner_dst;
	const uint8_t *keymat; /* key and salt */
	size_t keymat_len;
	uint64_t ike_spi_i;
	uint64_t ike_spi_r;
	const uint8_t *peer_key; /* raw public key that authenticated the peer; NULL: another method */
	const uint8_t *shown; /* what authenticated us, as channel::Shown; NULL: unknown */
	const char *ppk; /* id of the PPK that the IKE_SA uses, as text; NULL: none */
	const char *key_exchanges; /* of the IKE_SA, in the notation of proposals */
} encsync_sa_t;

/** As channel::PeerEventKind. */
typedef enum {
	ENCSYNC_CONNECTING = 1,
	ENCSYNC_UP = 2,
	ENCSYNC_DOWN = 3,
	ENCSYNC_REKEYED = 4,
	ENCSYNC_AUTH_FAILED = 5,
	ENCSYNC_NO_PROPOSAL = 6,
	ENCSYNC_UNREACHABLE = 7,
	ENCSYNC_PEER_DELETED = 8,
	ENCSYNC_FLOODED = 9,
} encsync_event_t;

/** Takes the channel from the environment. Returns its descriptor, or -1. */
int encsync_core_open(void);
void encsync_core_set_orders(const encsync_orders_t *orders);
/** Reports to encsyncd that charon is running. */
void encsync_core_hello(const char *version);
void encsync_core_pong(uint32_t cookie);
void encsync_core_log(uint8_t level, const char *text);

/** Reads one message, without waiting. */
encsync_received_t encsync_core_receive(encsync_ike_t *ike);
/** Passes an IKE datagram to encsyncd; false: no room, the datagram is lost. */
bool encsync_core_send_ike(const encsync_endpoint_t *from, const encsync_endpoint_t *to,
						   const uint8_t *data, size_t len);

/** Peers by the name of their conn, or by their outer address. ENCSYNC_NO_PEER: none. */
uint8_t encsync_core_peer_by_name(const char *name);
uint8_t encsync_core_peer_by_address(const encsync_address_t *right);
/** Whether transport mode is configured for a peer, else tunnel mode. */
bool encsync_core_transport(uint8_t peer);
/** Our address towards a peer. */
bool encsync_core_left(uint8_t peer, encsync_address_t *left);
/** How many credentials of a kind a peer has; secret ones are not kept, so they do not count. */
size_t encsync_core_credentials(uint8_t peer, encsync_credential_kind_t kind);
bool encsync_core_trusts(uint8_t peer, const uint8_t key[ENCSYNC_KEY_SIZE]);

/** The id of the PPK that we offer a peer; false: none. */
bool encsync_core_ppk(uint8_t peer, char id[ENCSYNC_PPK_TEXT_SIZE]);
/** Whether we have that PPK with a peer. */
bool encsync_core_has_ppk(uint8_t peer, const char *id);
bool encsync_core_ppk_required(uint8_t peer);
/** An id as text. */
void encsync_core_ppk_text(const uint8_t id[ENCSYNC_PPK_ID_SIZE], char text[ENCSYNC_PPK_TEXT_SIZE]);

/** Whether this end goes first where both ends may do the same; the other one waits. */
bool encsync_core_goes_first(uint8_t peer);
/** Number of outbound SAs taken into use with a peer: shows whether SAs were renewed meanwhile. */
uint32_t encsync_core_renewals(uint8_t peer);

/** A random SPI in host order that no SA of ours has. */
uint32_t encsync_core_new_spi(void);
/**
 * Reports an SA to encsyncd. With hold_for (the unique id of an IKE_SA), an outbound one is held
 * back until encsync_core_release(), because the peer does not have it yet.
 */
void encsync_core_add_sa(const encsync_sa_t *sa, uint32_t hold_for);
void encsync_core_release(uint32_t ike_unique_id);
void encsync_core_del_sa(uint32_t spi, const encsync_address_t *dst);
bool encsync_core_has_inbound(uint32_t spi);
/**
 * The peer deletes the SA with this outbound SPI (host order): an SA that is held back replaces
 * it. If it was the last one, its removal is reported with the reason.
 */
void encsync_core_closed_by_peer(uint8_t peer, uint32_t spi);

/**
 * Whether to initiate now; to be called about twice a second.
 *
 * @param connecting	an IKE_SA with the peer is being negotiated
 * @param established	an IKE_SA with the peer is there, with or without a CHILD_SA
 */
bool encsync_core_due(uint8_t peer, bool connecting, bool established);

/** The SPIs of an IKE_SA. */
typedef struct {
	uint64_t spi_i;
	uint64_t spi_r;
} encsync_ike_spis_t;

/**
 * A caller at the address of a peer has begun an IKE_SA.
 *
 * @param victim	an IKE_SA that must make room for it
 * @return			whether one must
 */
bool encsync_core_half_open(uint8_t peer, const encsync_ike_spis_t *begun,
							encsync_ike_spis_t *victim);
/** An IKE_SA is established, or is being destroyed. */
void encsync_core_not_half_open(const encsync_ike_spis_t *spis);

/** Events that repeat within a minute, with the same text, are not all reported. */
void encsync_core_event(uint8_t peer, encsync_event_t kind, const char *text,
						uint64_t ike_spi_i, uint64_t ike_spi_r);

#ifdef __cplusplus
}
#endif

#endif /* ENCSYNC_CORE_H_ */
