/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_keeper.h"
#include "encsync_auth.h"
#include "compat.h"
#include "convert.h"

#include <daemon.h>
#include <collections/array.h>
#include <processing/jobs/callback_job.h>
#include <processing/jobs/rekey_child_sa_job.h>
#include <processing/jobs/rekey_ike_sa_job.h>

/** interval in which the state of the peers is checked, in ms */
#define INTERVAL 500

/** how long to wait for the other end if it goes first, in ms */
#define HEAD_START 1000

/** the same at a change of our key, in s; up to one less, as clocks are read in s */
#define KEY_HEAD_START 3

/** interval of reauthentication while a peer still refuses our new key, in s */
#define SHOW_AGAIN 30

/** how long there may be two IKE_SAs with a peer, in s: longer than charon keeps
 * one that was reauthenticated */
#define TWO_IKE_SAS 12

/** a time that does not come */
#define NEVER ((time_t)INT32_MAX)

typedef struct private_encsync_keeper_t private_encsync_keeper_t;
typedef struct order_t order_t;

/**
 * Private data of an encsync_keeper_t object.
 */
struct private_encsync_keeper_t {

	/**
	 * Public encsync_keeper_t interface.
	 */
	encsync_keeper_t public;

	/**
	 * The peers
	 */
	encsync_backend_t *backend;

	/**
	 * Our key
	 */
	encsync_creds_t *creds;

	/**
	 * The IKE_SA that still uses our old key, by its unique id; 0 if there is none
	 */
	uint32_t outdated[ENCSYNC_MAX_PEERS];

	/**
	 * When to reauthenticate it, or to try that again
	 */
	time_t show_again[ENCSYNC_MAX_PEERS];

	/**
	 * When to replace two IKE_SAs by one; 0 if there is only one, NEVER if that has
	 * been tried
	 */
	time_t merge[ENCSYNC_MAX_PEERS];
};

/**
 * An order of encsyncd; in a job of its own, as it waits for SAs to be checked in
 */
struct order_t {

	/**
	 * The keeper
	 */
	private_encsync_keeper_t *keeper;

	/**
	 * Name of the peer
	 */
	char *name;

	/**
	 * TRUE to reauthenticate
	 */
	bool reauth;

	/**
	 * Number of renewals of SAs when the order was received
	 */
	uint32_t renewals;
};

CALLBACK(order_destroy, void,
	order_t *this)
{
	free(this->name);
	free(this);
}

/**
 * Create a job from an order
 */
static job_t *create_order(private_encsync_keeper_t *this, callback_job_cb_t cb,
						   const char *name, bool reauth)
{
	order_t *order;

	INIT(order,
		.keeper = this,
		.name = strdup(name),
		.reauth = reauth,
		.renewals = encsync_core_renewals(encsync_core_peer_by_name(name)),
	);
	return (job_t*)callback_job_create(cb, order, order_destroy,
									   (callback_job_cancel_t)return_false);
}

/**
 * Check if an IKE_SA is one with the given peer
 */
static bool is_with(ike_sa_t *ike_sa, const char *name)
{
	peer_cfg_t *cfg;

	cfg = ike_sa->get_peer_cfg(ike_sa);
	return cfg && streq(cfg->get_name(cfg), name);
}

/**
 * Initiate to a peer
 */
static void do_initiate(private_encsync_keeper_t *this, const char *name)
{
	backend_t *backend = &this->backend->backend;
	enumerator_t *enumerator;
	peer_cfg_t *peer_cfg;
	child_cfg_t *child_cfg, *found = NULL;

	peer_cfg = backend->get_peer_cfg_by_name(backend, (char*)name);
	if (!peer_cfg)
	{
		return;
	}
	enumerator = peer_cfg->create_child_cfg_enumerator(peer_cfg);
	if (enumerator->enumerate(enumerator, &child_cfg))
	{
		found = child_cfg->get_ref(child_cfg);
	}
	enumerator->destroy(enumerator);
	if (!found)
	{
		peer_cfg->destroy(peer_cfg);
		return;
	}
	encsync_core_event(encsync_core_peer_by_name(name), ENCSYNC_CONNECTING,
					   NULL, 0, 0);
	encsync_compat_initiate(peer_cfg, found);
}

CALLBACK(initiate_job, job_requeue_t,
	order_t *order)
{
	do_initiate(order->keeper, order->name);
	return JOB_REQUEUE_NONE;
}

METHOD(encsync_keeper_t, initiate, void,
	private_encsync_keeper_t *this, const char *name)
{
	lib->processor->queue_job(lib->processor,
						create_order(this, initiate_job, name, FALSE));
}

/**
 * Let the reauthentication of an IKE_SA use the peer's current configuration:
 * charon uses that of the IKE_SA, which may want another key of ours
 */
static void renew_cfg(private_encsync_keeper_t *this, ike_sa_t *ike_sa)
{
	backend_t *backend = &this->backend->backend;
	peer_cfg_t *cfg;

	cfg = ike_sa->get_peer_cfg(ike_sa);
	cfg = cfg ? backend->get_peer_cfg_by_name(backend, cfg->get_name(cfg)) : NULL;
	if (cfg)
	{
		ike_sa->set_peer_cfg(ike_sa, cfg);
		cfg->destroy(cfg);
	}
}

/**
 * Queue rekeying of all CHILD_SAs of an IKE_SA, each in a separate exchange
 */
static void rekey_children(ike_sa_t *ike_sa)
{
	enumerator_t *enumerator;
	child_sa_t *child_sa;
	host_t *host;

	host = ike_sa->get_my_host(ike_sa);
	enumerator = ike_sa->create_child_sa_enumerator(ike_sa);
	while (enumerator->enumerate(enumerator, &child_sa))
	{
		if (child_sa->get_state(child_sa) == CHILD_INSTALLED)
		{
			lib->processor->queue_job(lib->processor, (job_t*)
					rekey_child_sa_job_create(child_sa->get_protocol(child_sa),
									child_sa->get_spi(child_sa, TRUE), host));
		}
	}
	enumerator->destroy(enumerator);
}

/**
 * Check if an IKE_SA is being negotiated
 */
static bool is_connecting(ike_sa_t *ike_sa)
{
	return ike_sa->get_state(ike_sa) == IKE_CREATED ||
		   ike_sa->get_state(ike_sa) == IKE_CONNECTING;
}

/**
 * Check if an IKE_SA can be reauthenticated now
 */
static bool can_reauth(ike_sa_t *ike_sa)
{
	enumerator_t *enumerator;
	child_sa_t *child_sa;
	bool can = ike_sa->get_state(ike_sa) == IKE_ESTABLISHED;

	enumerator = ike_sa->create_child_sa_enumerator(ike_sa);
	while (can && enumerator->enumerate(enumerator, &child_sa))
	{
		switch (child_sa->get_state(child_sa))
		{
			case CHILD_INSTALLED:
			case CHILD_REKEYED:
			case CHILD_DELETED:
				break;
			default:
				can = FALSE;
				break;
		}
	}
	enumerator->destroy(enumerator);
	return can;
}

/**
 * Reauthenticate an IKE_SA, make before break. charon's own job would put that off
 * by up to 15 s if a CHILD_SA was rekeyed lately and is kept to receive, though
 * make-before-break leaves those out.
 *
 * @return			FALSE if that is not possible now, but may be later
 */
static bool reauthenticate(uint32_t unique_id)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	ike_sa_t *ike_sa;

	ike_sa = manager->checkout_by_id(manager, unique_id);
	if (!ike_sa)
	{
		return TRUE;
	}
	if (!can_reauth(ike_sa))
	{
		manager->checkin(manager, ike_sa);
		return FALSE;
	}
	if (ike_sa->reauth(ike_sa) == DESTROY_ME)
	{
		manager->checkin_and_destroy(manager, ike_sa);
	}
	else
	{
		manager->checkin(manager, ike_sa);
	}
	return TRUE;
}

CALLBACK(rekey_job, job_requeue_t,
	order_t *order)
{
	enumerator_t *enumerator;
	ike_sa_id_t *newest = NULL;
	ike_sa_t *ike_sa;
	uint32_t unique_id = 0;
	bool busy = FALSE;

	if (!order->reauth && order->renewals !=
				encsync_core_renewals(encsync_core_peer_by_name(order->name)))
	{	/* the other end received the same order, and was first */
		return JOB_REQUEUE_NONE;
	}
	enumerator = charon->controller->create_ike_sa_enumerator(
												charon->controller, TRUE);
	while (enumerator->enumerate(enumerator, &ike_sa))
	{
		if (!is_with(ike_sa, order->name))
		{
			continue;
		}
		busy |= is_connecting(ike_sa) ||
				ike_sa->get_state(ike_sa) == IKE_REKEYING;
		if (ike_sa->get_state(ike_sa) != IKE_ESTABLISHED)
		{
			continue;
		}
		if (order->reauth)
		{	/* this creates new CHILD_SAs itself */
			renew_cfg(order->keeper, ike_sa);
		}
		else
		{
			rekey_children(ike_sa);
		}
		/* if there are older ones, the uniqueness policy is about to delete them */
		if (ike_sa->get_unique_id(ike_sa) > unique_id)
		{
			unique_id = ike_sa->get_unique_id(ike_sa);
			DESTROY_IF(newest);
			newest = ike_sa->get_id(ike_sa);
			newest = newest->clone(newest);
		}
	}
	enumerator->destroy(enumerator);
	if (order->reauth)
	{	/* one at a time, as each would leave an IKE_SA */
		if (busy || !reauthenticate(unique_id))
		{
			return JOB_RESCHEDULE_MS(INTERVAL);
		}
	}
	else if (newest)
	{
		lib->processor->queue_job(lib->processor, (job_t*)
								  rekey_ike_sa_job_create(newest, FALSE));
	}
	DESTROY_IF(newest);
	return JOB_REQUEUE_NONE;
}

METHOD(encsync_keeper_t, rekey, void,
	private_encsync_keeper_t *this, const char *name, bool reauth)
{
	job_t *job;

	job = create_order(this, rekey_job, name, reauth);
	if (encsync_core_goes_first(encsync_core_peer_by_name(name)))
	{
		lib->processor->queue_job(lib->processor, job);
	}
	else
	{	/* charon 5.9 does not get every case right in which both ends rekey
		 * the same SAs at once */
		lib->scheduler->schedule_job_ms(lib->scheduler, job, HEAD_START);
	}
}

/**
 * Check if the key that authenticated the peer of an IKE_SA is no longer trusted
 */
static bool is_withdrawn(ike_sa_t *ike_sa)
{
	uint8_t key[ENCSYNC_KEY_SIZE];

	return encsync_get_key(ike_sa, key) &&
		   !encsync_core_trusts(encsync_peer_of(ike_sa), key);
}

/**
 * Check if the peer owes us a response
 */
static bool is_waiting(ike_sa_t *ike_sa)
{
	enumerator_t *tasks;
	task_t *task;
	bool waiting;

	tasks = ike_sa->create_task_enumerator(ike_sa, TASK_QUEUE_ACTIVE);
	waiting = tasks->enumerate(tasks, &task);
	tasks->destroy(tasks);
	return waiting;
}

/**
 * Close an IKE_SA at once: send a DELETE, but do not wait for the response
 */
static void close_ike_sa(uint32_t id)
{
	ike_sa_t *ike_sa;
	uint32_t mid;

	ike_sa = charon->ike_sa_manager->checkout_by_id(charon->ike_sa_manager, id);
	if (!ike_sa)
	{
		return;
	}
	if (ike_sa->get_state(ike_sa) != IKE_CONNECTING && is_waiting(ike_sa))
	{	/* charon would queue the DELETE behind the open exchange, so it would
		 * never be sent. The peer most likely has that request, and expects the
		 * next message ID. */
		mid = ike_sa->get_message_id(ike_sa, TRUE);
		ike_sa->flush_queue(ike_sa, TASK_QUEUE_ACTIVE);
		ike_sa->set_message_id(ike_sa, TRUE, mid + 1);
	}
	ike_sa->delete(ike_sa, TRUE);
	charon->ike_sa_manager->checkin_and_destroy(charon->ike_sa_manager, ike_sa);
}

/**
 * Close all SAs with a peer, or only those authenticated with a withdrawn key
 */
static void do_terminate(order_t *order, bool withdrawn)
{
	enumerator_t *enumerator;
	ike_sa_t *ike_sa;
	array_t *ids;
	uint32_t id;

	ids = array_create(sizeof(id), 0);
	enumerator = charon->controller->create_ike_sa_enumerator(
												charon->controller, TRUE);
	while (enumerator->enumerate(enumerator, &ike_sa))
	{
		if (is_with(ike_sa, order->name) &&
			(!withdrawn || is_withdrawn(ike_sa)))
		{
			id = ike_sa->get_unique_id(ike_sa);
			array_insert(ids, ARRAY_TAIL, &id);
		}
	}
	enumerator->destroy(enumerator);
	while (array_remove(ids, ARRAY_HEAD, &id))
	{
		close_ike_sa(id);
	}
	array_destroy(ids);
}

CALLBACK(terminate_job, job_requeue_t,
	order_t *order)
{
	do_terminate(order, FALSE);
	return JOB_REQUEUE_NONE;
}

CALLBACK(cut_job, job_requeue_t,
	order_t *order)
{
	do_terminate(order, TRUE);
	return JOB_REQUEUE_NONE;
}

METHOD(encsync_keeper_t, terminate_, void,
	private_encsync_keeper_t *this, const char *name)
{
	lib->processor->queue_job(lib->processor,
						create_order(this, terminate_job, name, FALSE));
}

METHOD(encsync_keeper_t, cut, void,
	private_encsync_keeper_t *this, const char *name)
{
	lib->processor->queue_job(lib->processor,
						create_order(this, cut_job, name, FALSE));
}

/**
 * Check if we authenticated an IKE_SA with something else than what is to be used now
 */
static bool is_outdated(private_encsync_keeper_t *this, ike_sa_t *ike_sa)
{
	uint8_t shown[ENCSYNC_KEY_SIZE], own[ENCSYNC_KEY_SIZE];

	return encsync_auth_shown(ike_sa, shown) &&
		   this->creds->to_show(this->creds, encsync_peer_of(ike_sa), own) &&
		   !memeq(shown, own, sizeof(own));
}

/**
 * Check if it is time to replace several IKE_SAs by one. If both ends initiate at
 * once, there are two, of which charon gets rid only at a reauthentication.
 */
static bool merges(private_encsync_keeper_t *this, uint8_t id, u_int ike_sas)
{
	time_t now = time_monotonic(NULL);

	if (ike_sas < 2)
	{
		this->merge[id] = 0;
		return FALSE;
	}
	if (!this->merge[id])
	{
		this->merge[id] = now + TWO_IKE_SAS;
	}
	if (now < this->merge[id])
	{
		return FALSE;
	}
	this->merge[id] = NEVER; /* the other end may want them */
	return encsync_core_goes_first(id);
}

CALLBACK(look_after, job_requeue_t,
	private_encsync_keeper_t *this)
{
	struct {
		char *name;
		u_int ike_sas;
		bool connecting;
		bool established;
		uint32_t outdated;
	} peers[ENCSYNC_MAX_PEERS] = {};
	backend_t *backend = &this->backend->backend;
	enumerator_t *enumerator;
	peer_cfg_t *cfg;
	ike_sa_t *ike_sa;
	uint8_t id;

	enumerator = backend->create_peer_cfg_enumerator(backend, NULL, NULL);
	while (enumerator->enumerate(enumerator, &cfg))
	{
		id = encsync_core_peer_by_name(cfg->get_name(cfg));
		if (id < ENCSYNC_MAX_PEERS)
		{
			free(peers[id].name);
			peers[id].name = strdup(cfg->get_name(cfg));
		}
	}
	enumerator->destroy(enumerator);

	enumerator = charon->controller->create_ike_sa_enumerator(
												charon->controller, TRUE);
	while (enumerator->enumerate(enumerator, &ike_sa))
	{
		id = encsync_peer_of(ike_sa);
		if (id >= ENCSYNC_MAX_PEERS)
		{
			continue;
		}
		peers[id].connecting |= is_connecting(ike_sa);
		switch (ike_sa->get_state(ike_sa))
		{
			case IKE_ESTABLISHED:
				peers[id].ike_sas++;
				if (!peers[id].outdated && is_outdated(this, ike_sa))
				{
					renew_cfg(this, ike_sa);
					peers[id].outdated = ike_sa->get_unique_id(ike_sa);
				}
				/* fall-through */
			case IKE_REKEYING:
				peers[id].established = TRUE;
				break;
			default:
				break;
		}
	}
	enumerator->destroy(enumerator);

	for (id = 0; id < ENCSYNC_MAX_PEERS; id++)
	{
		if (peers[id].name &&
			encsync_core_due(id, peers[id].connecting, peers[id].established))
		{
			do_initiate(this, peers[id].name);
		}
		if (peers[id].outdated != this->outdated[id])
		{	/* or another one: that was negotiated while our key changed. If the peer
			 * has a new key as well, its reauthentication shows both; two that cross
			 * would leave two IKE_SAs */
			this->outdated[id] = peers[id].outdated;
			this->show_again[id] = encsync_core_goes_first(id) ? 0 :
									time_monotonic(NULL) + KEY_HEAD_START;
		}
		if (peers[id].outdated && !peers[id].connecting &&
			time_monotonic(NULL) >= this->show_again[id] &&
			reauthenticate(peers[id].outdated))
		{	/* peers are shown our new key at once, so that they can stop
			 * trusting the old one */
			this->show_again[id] = time_monotonic(NULL) + SHOW_AGAIN;
		}
		if (merges(this, id, peers[id].ike_sas) && peers[id].name)
		{
			rekey(this, peers[id].name, TRUE);
		}
		free(peers[id].name);
	}
	return JOB_RESCHEDULE_MS(INTERVAL);
}

METHOD(encsync_keeper_t, destroy, void,
	private_encsync_keeper_t *this)
{
	free(this);
}

/*
 * Described in header.
 */
encsync_keeper_t *encsync_keeper_create(encsync_backend_t *backend,
										encsync_creds_t *creds)
{
	private_encsync_keeper_t *this;

	INIT(this,
		.public = {
			.initiate = _initiate,
			.rekey = _rekey,
			.terminate = _terminate_,
			.cut = _cut,
			.destroy = _destroy,
		},
		.backend = backend,
		.creds = creds,
	);
	lib->processor->queue_job(lib->processor, (job_t*)
			callback_job_create(look_after, this, NULL,
								(callback_job_cancel_t)return_false));

	return &this->public;
}
