/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_listener.h"
#include "encsync_auth.h"
#include "encsync_ppk.h"
#include "compat.h"
#include "convert.h"

#include <daemon.h>
#include <encoding/payloads/delete_payload.h>
#include <processing/jobs/delete_ike_sa_job.h>
#include <processing/jobs/initiate_tasks_job.h>
#include <sa/ikev2/tasks/ike_dpd.h>

/** maximum length of the text of an event */
#define MAX_TEXT 1000

/** syslog's level of an error */
#define SYSLOG_ERROR 3

/** delay between our response and our request to the peer, in ms: the request
 * must not arrive first */
#define PROBE_DELAY 50

/**
 * The request that the calling thread is answering
 */
static __thread exchange_type_t answering = EXCHANGE_TYPE_UNDEFINED;

/**
 * Whether the response that the calling thread processes refuses our proposals:
 * charon then raises an alert with these, as if they were the peer's
 */
static __thread bool proposals_refused = FALSE;

typedef struct private_encsync_listener_t private_encsync_listener_t;

/**
 * Private data of an encsync_listener_t object.
 */
struct private_encsync_listener_t {

	/**
	 * Public encsync_listener_t interface.
	 */
	encsync_listener_t public;

	/**
	 * Credentials
	 */
	encsync_creds_t *creds;
};

/**
 * Report something about an IKE_SA
 */
static void report(ike_sa_t *ike_sa, encsync_event_t kind, const char *text)
{
	ike_sa_id_t *id;
	uint64_t spi_i = 0, spi_r = 0;

	if (ike_sa)
	{
		id = ike_sa->get_id(ike_sa);
		spi_i = be64toh(id->get_initiator_spi(id));
		spi_r = be64toh(id->get_responder_spi(id));
	}
	encsync_core_event(encsync_peer_of(ike_sa), kind, text, spi_i, spi_r);
}

/**
 * Name of the other end: that of its conn if there is one, else its address
 */
static void get_name(ike_sa_t *ike_sa, char *buf, size_t len)
{
	peer_cfg_t *cfg;

	cfg = ike_sa->get_peer_cfg(ike_sa);
	if (cfg)
	{
		snprintf(buf, len, "%s", cfg->get_name(cfg));
	}
	else
	{
		snprintf(buf, len, "%H", ike_sa->get_other_host(ike_sa));
	}
}

/**
 * Description of the other end of a failed attempt, with its address: anybody
 * may claim the peer's identity
 */
static void get_caller(ike_sa_t *ike_sa, char *buf, size_t len)
{
	identification_t *id;
	ike_sa_id_t *sa_id;
	char name[128];

	sa_id = ike_sa->get_id(ike_sa);
	id = ike_sa->get_other_id(ike_sa);
	if (sa_id->is_initiator(sa_id))
	{
		get_name(ike_sa, name, sizeof(name));
		snprintf(buf, len, "%s, called by us at %H", name,
				 ike_sa->get_other_host(ike_sa));
	}
	else if (id && id->get_type(id) != ID_ANY)
	{
		snprintf(buf, len, "a caller from %H as '%Y'",
				 ike_sa->get_other_host(ike_sa), id);
	}
	else
	{
		snprintf(buf, len, "a caller from %H", ike_sa->get_other_host(ike_sa));
	}
}

/**
 * We refuse the peer: report why
 */
static void peer_auth_failed(private_encsync_listener_t *this, ike_sa_t *ike_sa)
{
	char who[256], keys[512], text[MAX_TEXT];
	identification_t *id, *expected;

	get_caller(ike_sa, who, sizeof(who));
	id = ike_sa->get_other_id(ike_sa);
	expected = encsync_auth_rule(ike_sa, FALSE, AUTH_RULE_IDENTITY);
	this->creds->get_trusted(this->creds, encsync_peer_of(ike_sa), keys, sizeof(keys));

	if (!expected)
	{
		snprintf(text, sizeof(text), "%s: no conn with its address has that "
				 "rightid", who);
	}
	else if (!id->equals(id, expected))
	{
		snprintf(text, sizeof(text), "%s: it calls itself '%Y', not '%Y' as "
				 "rightid says", who, id, expected);
	}
	else
	{
		encsync_auth_explain(ike_sa, who, keys, text, sizeof(text));
	}
	report(ike_sa, ENCSYNC_AUTH_FAILED, text);
}

/**
 * The peer refuses us: report possible reasons
 */
static void local_auth_failed(private_encsync_listener_t *this, ike_sa_t *ike_sa)
{
	char name[128], key[64], text[MAX_TEXT];

	get_name(ike_sa, name, sizeof(name));
	this->creds->get_fingerprint(this->creds, encsync_peer_of(ike_sa), key, sizeof(key));
	encsync_auth_explain_refusal(ike_sa, name, key, text, sizeof(text));
	report(ike_sa, ENCSYNC_AUTH_FAILED, text);
}

/**
 * Report that there was no answer
 */
static void unreachable(ike_sa_t *ike_sa)
{
	char name[128], text[MAX_TEXT];

	get_name(ike_sa, name, sizeof(name));
	snprintf(text, sizeof(text), "%s (%H) does not answer", name,
			 ike_sa->get_other_host(ike_sa));
	report(ike_sa, ENCSYNC_UNREACHABLE, text);
}

/**
 * Report that no proposal matches: theirs, and ours if the peer is known
 */
static void no_proposal(ike_sa_t *ike_sa, bool ike, linked_list_t *theirs)
{
	char who[256], text[MAX_TEXT];
	enumerator_t *enumerator;
	linked_list_t *ours = NULL;
	child_cfg_t *child;
	ike_cfg_t *ike_cfg;
	peer_cfg_t *cfg;

	get_caller(ike_sa, who, sizeof(who));
	cfg = ike_sa->get_peer_cfg(ike_sa);
	if (ike)
	{
		ike_cfg = ike_sa->get_ike_cfg(ike_sa);
		if (ike_cfg)
		{
			ours = ike_cfg->get_proposals(ike_cfg);
		}
	}
	else if (cfg)
	{
		enumerator = cfg->create_child_cfg_enumerator(cfg);
		if (enumerator->enumerate(enumerator, &child))
		{
			ours = child->get_proposals(child, FALSE);
		}
		enumerator->destroy(enumerator);
	}
	if (ours)
	{
		snprintf(text, sizeof(text), "%s: no common proposal for %s: it offers "
				 "%#P, we accept %#P", who, ike ? "ike" : "esp", theirs, ours);
		ours->destroy_offset(ours, offsetof(proposal_t, destroy));
	}
	else
	{
		snprintf(text, sizeof(text), "%s: no common proposal for %s: it offers "
				 "%#P", who, ike ? "ike" : "esp", theirs);
	}
	report(ike_sa, ENCSYNC_NO_PROPOSAL, text);
}

METHOD(listener_t, alert, bool,
	private_encsync_listener_t *this, ike_sa_t *ike_sa, alert_t alert,
	va_list args)
{
	linked_list_t *list, *other;
	char name[256], text[MAX_TEXT];

	if (!ike_sa)
	{
		return TRUE;
	}
	switch (alert)
	{
		case ALERT_PEER_AUTH_FAILED:
			if (!proposals_refused)
			{	/* charon 6.0 also raises it if the peer takes no CHILD_SA */
				peer_auth_failed(this, ike_sa);
			}
			break;
		case ALERT_LOCAL_AUTH_FAILED:
			local_auth_failed(this, ike_sa);
			break;
		case ALERT_PEER_INIT_UNREACHABLE:
		case ALERT_RETRANSMIT_SEND_TIMEOUT:
			unreachable(ike_sa);
			break;
		case ALERT_PROPOSAL_MISMATCH_IKE:
		case ALERT_PROPOSAL_MISMATCH_CHILD:
			if (answering == EXCHANGE_TYPE_UNDEFINED)
			{	/* a response that refuses: refused() has reported it */
				break;
			}
			list = va_arg(args, linked_list_t*);
			if (!proposals_refused)
			{
				no_proposal(ike_sa, alert == ALERT_PROPOSAL_MISMATCH_IKE, list);
			}
			break;
		case ALERT_TS_MISMATCH:
			list = va_arg(args, linked_list_t*);
			other = va_arg(args, linked_list_t*);
			get_caller(ike_sa, name, sizeof(name));
			snprintf(text, sizeof(text), "%s: it wants to sync between other "
					 "addresses: %#R === %#R", name, list, other);
			report(ike_sa, ENCSYNC_NO_PROPOSAL, text);
			break;
		case ALERT_INSTALL_CHILD_SA_FAILED:
			get_name(ike_sa, name, sizeof(name));
			snprintf(text, sizeof(text), "%s: an SA that was negotiated could "
					 "not be used", name);
			encsync_core_log(SYSLOG_ERROR, text);
			break;
		default:
			break;
	}
	return TRUE;
}

/**
 * Report those SAs closed by a DELETE that have not been replaced
 */
static void closes(ike_sa_t *ike_sa, message_t *message)
{
	enumerator_t *payloads, *children, *spis;
	delete_payload_t *delete;
	child_sa_t *child_sa;
	payload_t *payload;
	uint8_t peer = encsync_peer_of(ike_sa);
	uint32_t spi;

	payloads = message->create_payload_enumerator(message);
	while (payloads->enumerate(payloads, &payload))
	{
		if (payload->get_type(payload) != PLV2_DELETE)
		{
			continue;
		}
		delete = (delete_payload_t*)payload;
		if (delete->get_protocol_id(delete) == PROTO_IKE)
		{	/* and all its CHILD_SAs, unless we delete it as well */
			if (ike_sa->get_state(ike_sa) != IKE_ESTABLISHED)
			{
				continue;
			}
			children = ike_sa->create_child_sa_enumerator(ike_sa);
			while (children->enumerate(children, &child_sa))
			{
				encsync_core_closed_by_peer(peer,
									ntohl(child_sa->get_spi(child_sa, FALSE)));
			}
			children->destroy(children);
			continue;
		}
		spis = delete->create_spi_enumerator(delete);
		while (spis->enumerate(spis, &spi))
		{
			child_sa = ike_sa->get_child_sa(ike_sa, PROTO_ESP, spi, FALSE);
			if (child_sa && child_sa->get_state(child_sa) == CHILD_INSTALLED &&
				!encsync_compat_replaced(ike_sa, child_sa))
			{
				encsync_core_closed_by_peer(peer, ntohl(spi));
			}
		}
		spis->destroy(spis);
	}
	payloads->destroy(payloads);
}

/**
 * Report a response that refuses our request
 */
static void refused(ike_sa_t *ike_sa, const char *what)
{
	char name[128], text[MAX_TEXT];

	get_name(ike_sa, name, sizeof(name));
	snprintf(text, sizeof(text), "%s accepts none of our %s", name, what);
	report(ike_sa, ENCSYNC_NO_PROPOSAL, text);
}

/**
 * The SPIs of an IKE_SA
 */
static encsync_ike_spis_t get_spis(ike_sa_t *ike_sa)
{
	ike_sa_id_t *id = ike_sa->get_id(ike_sa);
	encsync_ike_spis_t spis = {
		.spi_i = id->get_initiator_spi(id),
		.spi_r = id->get_responder_spi(id),
	};

	return spis;
}

/**
 * A caller has begun an IKE_SA: if there are too many of its peer, another one
 * goes. Not at once, as its caller may be using it.
 */
static void begins(ike_sa_t *ike_sa)
{
	encsync_ike_spis_t begun = get_spis(ike_sa), victim;
	ike_sa_id_t *id;

	if (encsync_core_half_open(encsync_peer_of(ike_sa), &begun, &victim))
	{
		id = ike_sa_id_create(IKEV2_MAJOR_VERSION, victim.spi_i, victim.spi_r,
							  FALSE);
		lib->processor->queue_job(lib->processor,
							(job_t*)delete_ike_sa_job_create(id, FALSE));
		id->destroy(id);
	}
}

METHOD(listener_t, ike_state_change, bool,
	private_encsync_listener_t *this, ike_sa_t *ike_sa, ike_sa_state_t state)
{
	encsync_ike_spis_t spis;

	if (state == IKE_ESTABLISHED || state == IKE_DESTROYING)
	{
		spis = get_spis(ike_sa);
		encsync_core_not_half_open(&spis);
	}
	return TRUE;
}

/**
 * Check if an exchange is one of an IKE_SA whose ends have authenticated
 */
static bool is_authenticated(exchange_type_t exchange)
{
	return exchange != IKE_SA_INIT && exchange != IKE_INTERMEDIATE &&
		   exchange != IKE_AUTH;
}

METHOD(listener_t, message, bool,
	private_encsync_listener_t *this, ike_sa_t *ike_sa, message_t *message,
	bool incoming, bool plain)
{
	exchange_type_t exchange;

	exchange = message->get_exchange_type(message);
	if (!incoming && plain && exchange == IKE_SA_INIT &&
		!message->get_request(message))
	{
		begins(ike_sa);
	}
	if (plain && exchange == IKE_AUTH &&
		(incoming || message->get_request(message)))
	{
		encsync_ppk_message(ike_sa, message, incoming);
	}
	if (!incoming && plain && exchange == IKE_AUTH &&
		message->get_request(message))
	{
		this->creds->note(this->creds, ike_sa);
	}
	if (!incoming || !plain)
	{
		return TRUE;
	}
	answering = message->get_request(message) ? exchange
											  : EXCHANGE_TYPE_UNDEFINED;
	proposals_refused = FALSE;
	if (!message->get_request(message))
	{
		if (message->get_notify(message, NO_PROPOSAL_CHOSEN))
		{
			proposals_refused = TRUE;
			refused(ike_sa, exchange == IKE_SA_INIT ? "ike proposals"
													: "esp proposals, or "
													  "not our type=");
		}
		if (message->get_notify(message, TS_UNACCEPTABLE))
		{
			refused(ike_sa, "traffic selectors: do left and right agree on "
					"both ends?");
		}
	}
	if (!is_authenticated(exchange))
	{
		return TRUE;
	}
	if (message->get_notify(message, AUTHENTICATION_FAILED))
	{	/* we have accepted the initiator, but it does not accept us */
		local_auth_failed(this, ike_sa);
		return TRUE;
	}
	if (message->get_payload(message, PLV2_DELETE))
	{
		closes(ike_sa, message);
		return TRUE;
	}
	/* this message shows that the peer has received our response and accepted
	 * us: it has the SAs */
	encsync_core_release(ike_sa->get_unique_id(ike_sa));
	return TRUE;
}

METHOD(listener_t, authorize, bool,
	private_encsync_listener_t *this, ike_sa_t *ike_sa, bool final,
	bool *success)
{
	uint8_t peer, key[ENCSYNC_KEY_SIZE];

	if (!final)
	{
		return TRUE;
	}
	if (!encsync_ppk_check(ike_sa))
	{	/* charon raises an alert, which is explained then */
		*success = FALSE;
		return TRUE;
	}
	encsync_ppk_remember(ike_sa);
	if (!ike_sa->get_id(ike_sa)->is_initiator(ike_sa->get_id(ike_sa)))
	{	/* our AUTH payload has just been made */
		this->creds->note(this->creds, ike_sa);
	}
	encsync_auth_remember(ike_sa);
	/* charon searches the keys of all peers: a peer with trusted keys must not
	 * authenticate with a certificate of another peer's authority, nor a peer
	 * whose own authority charon could not read */
	peer = encsync_peer_of(ike_sa);
	if ((encsync_core_credentials(peer, ENCSYNC_TRUSTED) &&
		 !(encsync_get_key(ike_sa, key) && encsync_core_trusts(peer, key))) ||
		(encsync_core_credentials(peer, ENCSYNC_CA) &&
		 !encsync_auth_rule(ike_sa, FALSE, AUTH_RULE_CA_CERT)))
	{
		peer_auth_failed(this, ike_sa);
		*success = FALSE;
	}
	return TRUE;
}

METHOD(listener_t, child_updown, bool,
	private_encsync_listener_t *this, ike_sa_t *ike_sa, child_sa_t *child_sa,
	bool up)
{
	if (up && encsync_listener_answers_creation())
	{	/* request a response, which shows that the peer has the SAs */
		ike_sa->queue_task(ike_sa, (task_t*)ike_dpd_create(TRUE));
		lib->scheduler->schedule_job_ms(lib->scheduler, (job_t*)
					initiate_tasks_job_create(ike_sa->get_id(ike_sa)),
					PROBE_DELAY);
	}
	return TRUE;
}

/*
 * Described in header.
 */
bool encsync_listener_answers_creation()
{
	return answering == IKE_AUTH || answering == CREATE_CHILD_SA ||
		   answering == IKE_FOLLOWUP_KE;
}

METHOD(encsync_listener_t, destroy, void,
	private_encsync_listener_t *this)
{
	charon->bus->remove_listener(charon->bus, &this->public.listener);
	free(this);
}

/*
 * Described in header.
 */
encsync_listener_t *encsync_listener_create(encsync_creds_t *creds)
{
	private_encsync_listener_t *this;

	INIT(this,
		.public = {
			.listener = {
				.alert = _alert,
				.ike_state_change = _ike_state_change,
				.message = _message,
				.authorize = _authorize,
				.child_updown = _child_updown,
			},
			.destroy = _destroy,
		},
		.creds = creds,
	);
	charon->bus->add_listener(charon->bus, &this->public.listener);

	return &this->public;
}
