/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_listener.h"
#include "encsync_auth.h"
#include "convert.h"

#include <daemon.h>
#include <encoding/payloads/delete_payload.h>
#include <processing/jobs/initiate_tasks_job.h>
#include <sa/ikev2/tasks/ike_dpd.h>

/** length of a text for a person */
#define MAX_TEXT 1000

/** an error in terms of syslog */
#define SYSLOG_ERROR 3

/** how long after our response to ask the peer, in ms: not to overtake it */
#define PROBE_DELAY 50

/**
 * The request that the calling thread is answering
 */
static __thread exchange_type_t answering = EXCHANGE_TYPE_UNDEFINED;

/**
 * Whether the response that the calling thread reads refuses our proposals:
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
 * What to call the other end: its conn if there is one, else its address
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
 * Whose attempt it is that fails: anybody can call in the peer's name
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
 * We refuse the peer: say why
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
 * The peer refuses us
 */
static void local_auth_failed(private_encsync_listener_t *this, ike_sa_t *ike_sa)
{
	char name[128], key[64], text[MAX_TEXT];

	get_name(ike_sa, name, sizeof(name));
	this->creds->get_fingerprint(this->creds, key, sizeof(key));
	encsync_auth_explain_refusal(ike_sa, name, key, text, sizeof(text));
	report(ike_sa, ENCSYNC_AUTH_FAILED, text);
}

/**
 * No answer
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
 * No common proposal: theirs, and ours as far as we know whom we talk to
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
			peer_auth_failed(this, ike_sa);
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
			{	/* an answer that says no: refused() has told of it */
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
 * If both ends rekey a CHILD_SA at once and ours is refused, charon 5.9 forgets
 * that the peer's has already replaced it. It would then take the DELETE of the
 * old one as the end of it all, and never send on the new one. Remind it.
 */
static bool is_replaced(ike_sa_t *ike_sa, child_sa_t *child_sa)
{
	child_sa_t *new;
	uint32_t spi;

	spi = child_sa->get_rekey_spi(child_sa);
	if (!spi)
	{
		return FALSE;
	}
	new = ike_sa->get_child_sa(ike_sa, PROTO_ESP, spi, FALSE);
	if (!new || new->get_state(new) != CHILD_INSTALLED)
	{
		return FALSE;
	}
	child_sa->set_state(child_sa, CHILD_REKEYED);
	return TRUE;
}

/**
 * Check for a DELETE that closes what is not replaced
 */
static bool closes(ike_sa_t *ike_sa, message_t *message)
{
	enumerator_t *payloads, *spis;
	delete_payload_t *delete;
	child_sa_t *child_sa;
	payload_t *payload;
	uint32_t spi;
	bool closes = FALSE;

	payloads = message->create_payload_enumerator(message);
	while (payloads->enumerate(payloads, &payload))
	{
		if (payload->get_type(payload) != PLV2_DELETE)
		{
			continue;
		}
		delete = (delete_payload_t*)payload;
		if (delete->get_protocol_id(delete) == PROTO_IKE)
		{
			closes |= ike_sa->get_state(ike_sa) == IKE_ESTABLISHED;
			continue;
		}
		spis = delete->create_spi_enumerator(delete);
		while (spis->enumerate(spis, &spi))
		{
			child_sa = ike_sa->get_child_sa(ike_sa, PROTO_ESP, spi, FALSE);
			closes |= child_sa &&
					  child_sa->get_state(child_sa) == CHILD_INSTALLED &&
					  !is_replaced(ike_sa, child_sa);
		}
		spis->destroy(spis);
	}
	payloads->destroy(payloads);
	return closes;
}

/**
 * An answer that says no
 */
static void refused(ike_sa_t *ike_sa, const char *what)
{
	char name[128], text[MAX_TEXT];

	get_name(ike_sa, name, sizeof(name));
	snprintf(text, sizeof(text), "%s accepts none of our %s", name, what);
	report(ike_sa, ENCSYNC_NO_PROPOSAL, text);
}

METHOD(listener_t, message, bool,
	private_encsync_listener_t *this, ike_sa_t *ike_sa, message_t *message,
	bool incoming, bool plain)
{
	exchange_type_t exchange;

	if (!incoming || !plain)
	{
		return TRUE;
	}
	exchange = message->get_exchange_type(message);
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
	if (exchange == IKE_SA_INIT || exchange == IKE_AUTH)
	{
		return TRUE;
	}
	if (message->get_notify(message, AUTHENTICATION_FAILED))
	{	/* we had accepted the initiator, but it does not accept us */
		local_auth_failed(this, ike_sa);
		return TRUE;
	}
	if (message->get_payload(message, PLV2_DELETE))
	{
		if (closes(ike_sa, message))
		{
			encsync_core_closed_by_peer(encsync_peer_of(ike_sa));
		}
		return TRUE;
	}
	/* now it is known that the peer has received our response and accepted
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
	this->creds->remember(this->creds, ike_sa);
	/* charon looks for keys among those of all peers: whom keys are trusted
	 * for is not to get in by another's authority */
	peer = encsync_peer_of(ike_sa);
	if (encsync_core_credentials(peer, ENCSYNC_TRUSTED) &&
		!(encsync_get_key(ike_sa, FALSE, key) && encsync_core_trusts(peer, key)))
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
	{	/* make the peer show that it has the SAs, see above */
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
	return answering == IKE_AUTH || answering == CREATE_CHILD_SA;
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
