/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_ipsec.h"
#include "encsync_auth.h"
#include "encsync_listener.h"
#include "encsync_ppk.h"
#include "convert.h"

#include <netinet/in.h>

#include <daemon.h>
#include <processing/jobs/callback_job.h>

typedef struct private_encsync_ipsec_t private_encsync_ipsec_t;
typedef struct expiration_t expiration_t;

/**
 * Private data of an encsync_ipsec_t object.
 */
struct private_encsync_ipsec_t {

	/**
	 * Public encsync_ipsec_t interface.
	 */
	encsync_ipsec_t public;
};

/**
 * The soft or hard expiry of an inbound SA
 */
struct expiration_t {

	/**
	 * SPI of the SA, network order
	 */
	uint32_t spi;

	/**
	 * Its destination: our address
	 */
	host_t *dst;

	/**
	 * TRUE to delete the SA, FALSE to rekey it
	 */
	bool hard;

	/**
	 * Interval in which to request rekeying again, in seconds
	 */
	uint32_t retry;
};

CALLBACK(expiration_destroy, void,
	expiration_t *this)
{
	this->dst->destroy(this->dst);
	free(this);
}

CALLBACK(expire, job_requeue_t,
	expiration_t *this)
{
	if (encsync_core_has_inbound(ntohl(this->spi)))
	{
		charon->kernel->expire(charon->kernel, IPPROTO_ESP, this->spi,
							   this->dst, this->hard);
		if (!this->hard)
		{	/* rekeying fails while the IKE_SA is being rekeyed, too. charon
			 * tries again after half a minute, which may be too late. It takes
			 * no notice of SAs that it is rekeying or that are replaced. */
			return JOB_RESCHEDULE(this->retry);
		}
	}
	return JOB_REQUEUE_NONE;
}

/**
 * Schedule the soft or hard expiry of an SA
 */
static void schedule_expiration(kernel_ipsec_sa_id_t *id, bool hard,
								lifetime_cfg_t *lifetime)
{
	expiration_t *expiration;
	uint64_t seconds;

	seconds = hard ? lifetime->time.life : lifetime->time.rekey;
	if (!seconds)
	{
		return;
	}
	INIT(expiration,
		.spi = id->spi,
		.dst = id->dst->clone(id->dst),
		.hard = hard,
		.retry = min(max((lifetime->time.life - lifetime->time.rekey) / 8, 1),
					 30),
	);
	lib->scheduler->schedule_job(lib->scheduler, (job_t*)
			callback_job_create(expire, expiration, expiration_destroy,
								(callback_job_cancel_t)return_false),
			min(seconds, UINT32_MAX));
}

METHOD(kernel_ipsec_t, get_features, kernel_feature_t,
	private_encsync_ipsec_t *this)
{
	/* not KERNEL_POLICY_SPI: so charon itself installs outbound SAs of a rekey
	 * only once the peer has them (as responder when the old one is deleted) */
	return KERNEL_REQUIRE_UDP_ENCAPSULATION | KERNEL_NO_POLICY_UPDATES;
}

METHOD(kernel_ipsec_t, get_spi, status_t,
	private_encsync_ipsec_t *this, host_t *src, host_t *dst, uint8_t protocol,
	uint32_t *spi)
{
	uint32_t new;

	if (protocol != IPPROTO_ESP)
	{
		return NOT_SUPPORTED;
	}
	new = encsync_core_new_spi();
	if (!new)
	{
		return FAILED;
	}
	*spi = htonl(new);
	return SUCCESS;
}

METHOD(kernel_ipsec_t, get_cpi, status_t,
	private_encsync_ipsec_t *this, host_t *src, host_t *dst, uint16_t *cpi)
{
	return NOT_SUPPORTED;
}

/**
 * Map a negotiated cipher, FALSE if encsyncd does not have it
 */
static bool get_cipher(kernel_ipsec_add_sa_t *data, encsync_cipher_t *cipher)
{
	if (data->enc_alg == ENCR_AES_GCM_ICV16 && data->enc_key.len == 16 + 4)
	{
		*cipher = ENCSYNC_AES128GCM16;
		return TRUE;
	}
	if (data->enc_alg == ENCR_AES_GCM_ICV16 && data->enc_key.len == 32 + 4)
	{
		*cipher = ENCSYNC_AES256GCM16;
		return TRUE;
	}
	if (data->enc_alg == ENCR_CHACHA20_POLY1305 && data->enc_key.len == 32 + 4)
	{
		*cipher = ENCSYNC_CHACHA20POLY1305;
		return TRUE;
	}
	return FALSE;
}

/**
 * Get the one address of one side of an SA; FALSE if the selectors are anything
 * but a single host and pfsync: the peer may have narrowed them in a way that
 * we cannot use
 */
static bool get_inner(linked_list_t *list, encsync_address_t *address)
{
	traffic_selector_t *ts;
	chunk_t from, to;

	if (list->get_count(list) != 1 ||
		list->get_first(list, (void**)&ts) != SUCCESS)
	{
		return FALSE;
	}
	from = ts->get_from_address(ts);
	to = ts->get_to_address(ts);
	if (!chunk_equals(from, to) || from.len > sizeof(address->bytes) ||
		ts->get_protocol(ts) != ENCSYNC_PFSYNC)
	{
		return FALSE;
	}
	memset(address, 0, sizeof(*address));
	memcpy(address->bytes, from.ptr, from.len);
	address->ipv6 = ts->get_type(ts) == TS_IPV6_ADDR_RANGE;
	return TRUE;
}

/**
 * Report that the ends do not agree on the mode
 */
static void refuse_mode(ike_sa_t *ike_sa, const encsync_sa_t *sa)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: it takes type=%s, we have type=%s",
			 ike_sa->get_name(ike_sa), sa->transport ? "transport" : "tunnel",
			 sa->transport ? "tunnel" : "transport");
	encsync_core_event(sa->peer, ENCSYNC_NO_PROPOSAL, text, 0, 0);
}

METHOD(kernel_ipsec_t, add_sa, status_t,
	private_encsync_ipsec_t *this, kernel_ipsec_sa_id_t *id,
	kernel_ipsec_add_sa_t *data)
{
	encsync_sa_t sa = {
		.spi = ntohl(id->spi),
		.inbound = data->inbound,
		.esn = data->esn,
		.transport = data->mode == MODE_TRANSPORT,
		.replay_window = min(data->replay_window, 4096),
		.keymat = data->enc_key.ptr,
		.keymat_len = data->enc_key.len,
	};
	uint8_t peer_key[ENCSYNC_KEY_SIZE], shown[ENCSYNC_KEY_SIZE];
	char ppk[ENCSYNC_PPK_TEXT_SIZE], key_exchanges[ENCSYNC_KEY_EXCHANGES_SIZE];
	ike_sa_id_t *ike_id;
	ike_sa_t *ike_sa;
	uint32_t hold_for = 0;

	ike_sa = charon->bus->get_sa(charon->bus);
	sa.peer = encsync_peer_of(ike_sa);
	if (sa.peer == ENCSYNC_NO_PEER)
	{
		DBG1(DBG_KNL, "refusing an SA of a peer that is not configured");
		return FAILED;
	}
	if (id->proto != IPPROTO_ESP || data->ipcomp != IPCOMP_NONE ||
		(data->mode != MODE_TUNNEL && data->mode != MODE_TRANSPORT) ||
		!get_cipher(data, &sa.cipher))
	{
		DBG1(DBG_KNL, "refusing an SA with %N, not one of encsync's ciphers",
			 encryption_algorithm_names, data->enc_alg);
		return NOT_SUPPORTED;
	}
	if (sa.transport != encsync_core_transport(sa.peer))
	{
		refuse_mode(ike_sa, &sa);
		return FAILED;
	}
	if (!get_inner(data->src_ts, &sa.inner_src) ||
		!get_inner(data->dst_ts, &sa.inner_dst))
	{
		DBG1(DBG_KNL, "refusing an SA whose selectors are not two hosts and "
			 "protocol %d", ENCSYNC_PFSYNC);
		return FAILED;
	}
	sa.dst = encsync_from_host(id->dst);
	ike_id = ike_sa->get_id(ike_sa);
	sa.ike_spi_i = be64toh(ike_id->get_initiator_spi(ike_id));
	sa.ike_spi_r = be64toh(ike_id->get_responder_spi(ike_id));
	if (encsync_get_key(ike_sa, peer_key))
	{
		sa.peer_key = peer_key;
	}
	if (encsync_auth_shown(ike_sa, shown))
	{
		sa.shown = shown;
	}
	if (encsync_ppk_used(ike_sa, ppk))
	{
		sa.ppk = ppk;
	}
	encsync_key_exchanges(ike_sa, key_exchanges, sizeof(key_exchanges));
	sa.key_exchanges = key_exchanges;

	if (!data->inbound && !data->initiator && encsync_listener_answers_creation())
	{	/* our response is not on its way yet. The peer may not accept it, and
		 * has no such SA until then. (In a rekey this is not reached before the
		 * peer deletes the old SA: in an INFORMATIONAL exchange.) */
		hold_for = ike_sa->get_unique_id(ike_sa);
	}
	if (data->inbound)
	{
		schedule_expiration(id, FALSE, data->lifetime);
		schedule_expiration(id, TRUE, data->lifetime);
	}
	encsync_core_add_sa(&sa, hold_for);
	return SUCCESS;
}

METHOD(kernel_ipsec_t, update_sa, status_t,
	private_encsync_ipsec_t *this, kernel_ipsec_sa_id_t *id,
	kernel_ipsec_update_sa_t *data)
{
	/* ESP is sent to the configured addresses, regardless of IKE's */
	return SUCCESS;
}

METHOD(kernel_ipsec_t, query_sa, status_t,
	private_encsync_ipsec_t *this, kernel_ipsec_sa_id_t *id,
	kernel_ipsec_query_sa_t *data, uint64_t *bytes, uint64_t *packets,
	time_t *time)
{
	/* so DPD is based on IKE messages only, which also show that charon runs */
	return NOT_SUPPORTED;
}

METHOD(kernel_ipsec_t, del_sa, status_t,
	private_encsync_ipsec_t *this, kernel_ipsec_sa_id_t *id,
	kernel_ipsec_del_sa_t *data)
{
	encsync_address_t dst;

	dst = encsync_from_host(id->dst);
	encsync_core_del_sa(ntohl(id->spi), &dst);
	return SUCCESS;
}

METHOD(kernel_ipsec_t, flush_sas, status_t,
	private_encsync_ipsec_t *this)
{
	return SUCCESS;
}

METHOD(kernel_ipsec_t, add_policy, status_t,
	private_encsync_ipsec_t *this, kernel_ipsec_policy_id_t *id,
	kernel_ipsec_manage_policy_t *data)
{
	/* the selectors came with the SA; encsyncd enforces them */
	return SUCCESS;
}

METHOD(kernel_ipsec_t, query_policy, status_t,
	private_encsync_ipsec_t *this, kernel_ipsec_policy_id_t *id,
	kernel_ipsec_query_policy_t *data, time_t *use_time)
{
	return NOT_SUPPORTED;
}

METHOD(kernel_ipsec_t, del_policy, status_t,
	private_encsync_ipsec_t *this, kernel_ipsec_policy_id_t *id,
	kernel_ipsec_manage_policy_t *data)
{
	return SUCCESS;
}

METHOD(kernel_ipsec_t, flush_policies, status_t,
	private_encsync_ipsec_t *this)
{
	return SUCCESS;
}

METHOD(kernel_ipsec_t, bypass_socket, bool,
	private_encsync_ipsec_t *this, int fd, int family)
{
	return TRUE;
}

METHOD(kernel_ipsec_t, enable_udp_decap, bool,
	private_encsync_ipsec_t *this, int fd, int family, uint16_t port)
{
	return TRUE;
}

METHOD(kernel_ipsec_t, destroy, void,
	private_encsync_ipsec_t *this)
{
	free(this);
}

/*
 * Described in header.
 */
encsync_ipsec_t *encsync_ipsec_create()
{
	private_encsync_ipsec_t *this;

	INIT(this,
		.public = {
			.interface = {
				.get_features = _get_features,
				.get_spi = _get_spi,
				.get_cpi = _get_cpi,
				.add_sa = _add_sa,
				.update_sa = _update_sa,
				.query_sa = _query_sa,
				.del_sa = _del_sa,
				.flush_sas = _flush_sas,
				.add_policy = _add_policy,
				.query_policy = _query_policy,
				.del_policy = _del_policy,
				.flush_policies = _flush_policies,
				.bypass_socket = _bypass_socket,
				.enable_udp_decap = _enable_udp_decap,
				.destroy = _destroy,
			},
		},
	);

	return &this->public;
}
