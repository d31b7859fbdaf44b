/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_backend.h"
#include "encsync_auth.h"
#include "encsync_ppk.h"
#include "convert.h"

#include <daemon.h>
#include <threading/rwlock.h>

/** if rekeying an IKE_SA collides with the peer's, charon tries again after up
 * to half a minute; an IKE_SA with a short lifetime must not expire before */
#define MIN_OVER_TIME 60

typedef struct private_encsync_backend_t private_encsync_backend_t;

/**
 * Private data of an encsync_backend_t object.
 */
struct private_encsync_backend_t {

	/**
	 * Public encsync_backend_t interface.
	 */
	encsync_backend_t public;

	/**
	 * Our keys
	 */
	encsync_creds_t *creds;

	/**
	 * The peers, peer_cfg_t
	 */
	linked_list_t *cfgs;

	/**
	 * Lock for the list
	 */
	rwlock_t *lock;
};

/**
 * When to rekey an SA with a lifetime, and the random part of that
 *
 * Simultaneous rekeying is to be avoided. So the end whose id sorts first starts
 * at the beginning of the margin, as with strongSwan's ipsec.conf, and the other
 * end in the middle of the margin, if the SA has not been rekeyed until then.
 */
static void set_rekeying(const encsync_peer_t *peer, uint32_t lifetime,
						 uint32_t *rekey, uint32_t *jitter)
{
	uint32_t margin;

	margin = min(peer->margintime, lifetime / 2);
	if (strcmp(peer->leftid, peer->rightid) > 0)
	{
		*rekey = max(lifetime - margin / 2, 1);
		*jitter = 0;
		return;
	}
	*rekey = max(lifetime - margin, 1);
	/* charon subtracts up to one second more than that; with nothing left, it
	 * would not rekey at all */
	*jitter = min(margin, *rekey > 2 ? *rekey - 2 : 0);
}

/**
 * Add all of a comma separated list of proposals
 */
static bool add_proposals(const char *list, protocol_id_t protocol,
						  ike_cfg_t *ike_cfg, child_cfg_t *child_cfg)
{
	enumerator_t *enumerator;
	proposal_t *proposal;
	char *token;
	bool added = FALSE;

	enumerator = enumerator_create_token(list, ",", " ");
	while (enumerator->enumerate(enumerator, &token))
	{
		proposal = proposal_create_from_string(protocol, token);
		if (!proposal)
		{
			continue;
		}
		added = TRUE;
		if (ike_cfg)
		{
			ike_cfg->add_proposal(ike_cfg, proposal);
		}
		else
		{
			child_cfg->add_proposal(child_cfg, proposal);
		}
	}
	enumerator->destroy(enumerator);
	return added;
}

/**
 * Traffic selector of one host and pfsync
 */
static traffic_selector_t *create_ts(const encsync_address_t *address)
{
	return traffic_selector_create_from_subnet(encsync_to_host(address, 0),
								address->ipv6 ? 128 : 32, ENCSYNC_PFSYNC, 0,
								65535);
}

/**
 * Create charon's configuration of a peer
 */
static peer_cfg_t *create_cfg(private_encsync_backend_t *this,
							  const encsync_peer_t *peer)
{
	ike_cfg_create_t ike = {
		.version = IKEV2,
		.local_port = IKEV2_UDP_PORT,
		.remote_port = IKEV2_UDP_PORT,
		.force_encap = TRUE,
		.fragmentation = FRAGMENTATION_YES,
		.childless = CHILDLESS_NEVER,
	};
	peer_cfg_create_t cfg = {
		.unique = UNIQUE_REPLACE,
		/* the keeper tries again, at its own intervals */
		.keyingtries = 1,
		.no_mobike = TRUE,
		.dpd = peer->dpddelay,
	};
	child_cfg_create_t child = {
		.mode = peer->transport_mode ? MODE_TRANSPORT : MODE_TUNNEL,
		/* likewise: the keeper initiates again */
		.dpd_action = ACTION_NONE,
		.close_action = ACTION_NONE,
	};
	peer_cfg_t *peer_cfg;
	ike_cfg_t *ike_cfg;
	child_cfg_t *child_cfg;
	host_t *left, *right;
	auth_cfg_t *auth;
	char local[64], remote[64], text[256];
	uint32_t rekey, jitter;

	left = encsync_to_host(&peer->left, 0);
	right = encsync_to_host(&peer->right, 0);
	snprintf(local, sizeof(local), "%H", left);
	snprintf(remote, sizeof(remote), "%H", right);
	left->destroy(left);
	right->destroy(right);
	ike.local = local;
	ike.remote = remote;
	encsync_auth_configure(peer, &ike, &cfg);

	set_rekeying(peer, peer->ikelifetime, &cfg.rekey_time, &cfg.jitter_time);
	cfg.over_time = max(peer->margintime, MIN_OVER_TIME);
	set_rekeying(peer, peer->lifetime, &rekey, &jitter);
	child.lifetime.time.life = peer->lifetime;
	child.lifetime.time.rekey = rekey;
	child.lifetime.time.jitter = jitter;

	ike_cfg = ike_cfg_create(&ike);
	child_cfg = child_cfg_create((char*)peer->name, &child);
	if (!add_proposals(peer->ike, PROTO_IKE, ike_cfg, NULL) ||
		!add_proposals(peer->esp, PROTO_ESP, NULL, child_cfg))
	{
		snprintf(text, sizeof(text), "%s: charon understands neither of the "
				 "proposals ike=%s esp=%s", peer->name, peer->ike, peer->esp);
		encsync_core_event(peer->id, ENCSYNC_NO_PROPOSAL, text, 0, 0);
		ike_cfg->destroy(ike_cfg);
		child_cfg->destroy(child_cfg);
		return NULL;
	}
	child_cfg->add_traffic_selector(child_cfg, TRUE,
									create_ts(&peer->inner_left));
	child_cfg->add_traffic_selector(child_cfg, FALSE,
									create_ts(&peer->inner_right));

	peer_cfg = peer_cfg_create((char*)peer->name, ike_cfg, &cfg);
	auth = encsync_auth_create(peer, TRUE);
	this->creds->sign_with(this->creds, peer, auth);
	peer_cfg->add_auth_cfg(peer_cfg, auth, TRUE);
	peer_cfg->add_auth_cfg(peer_cfg, encsync_auth_create(peer, FALSE), FALSE);
	peer_cfg->add_child_cfg(peer_cfg, child_cfg);
	encsync_ppk_configure(peer_cfg);
	return peer_cfg;
}

/**
 * Remove a configuration, the write lock is held
 */
static void remove_cfg(private_encsync_backend_t *this, const char *name)
{
	enumerator_t *enumerator;
	peer_cfg_t *cfg;

	enumerator = this->cfgs->create_enumerator(this->cfgs);
	while (enumerator->enumerate(enumerator, &cfg))
	{
		if (streq(cfg->get_name(cfg), name))
		{
			this->cfgs->remove_at(this->cfgs, enumerator);
			cfg->destroy(cfg);
		}
	}
	enumerator->destroy(enumerator);
}

METHOD(encsync_backend_t, set_peer, void,
	private_encsync_backend_t *this, const encsync_peer_t *peer)
{
	peer_cfg_t *cfg;

	cfg = create_cfg(this, peer);
	this->lock->write_lock(this->lock);
	remove_cfg(this, peer->name);
	if (cfg)
	{
		this->cfgs->insert_last(this->cfgs, cfg);
	}
	this->lock->unlock(this->lock);
}

METHOD(encsync_backend_t, remove_peer, void,
	private_encsync_backend_t *this, const char *name)
{
	this->lock->write_lock(this->lock);
	remove_cfg(this, name);
	this->lock->unlock(this->lock);
}

CALLBACK(get_ike_cfg, bool,
	void *data, enumerator_t *orig, va_list args)
{
	peer_cfg_t *cfg;
	ike_cfg_t **out;

	VA_ARGS_VGET(args, out);

	if (orig->enumerate(orig, &cfg))
	{
		*out = cfg->get_ike_cfg(cfg);
		return TRUE;
	}
	return FALSE;
}

METHOD(backend_t, create_peer_cfg_enumerator, enumerator_t*,
	private_encsync_backend_t *this, identification_t *me,
	identification_t *other)
{
	this->lock->read_lock(this->lock);
	return enumerator_create_cleaner(
							this->cfgs->create_enumerator(this->cfgs),
							(void*)this->lock->unlock, this->lock);
}

METHOD(backend_t, create_ike_cfg_enumerator, enumerator_t*,
	private_encsync_backend_t *this, host_t *me, host_t *other)
{
	this->lock->read_lock(this->lock);
	return enumerator_create_filter(
							this->cfgs->create_enumerator(this->cfgs),
							get_ike_cfg, this->lock,
							(void*)this->lock->unlock);
}

METHOD(backend_t, get_peer_cfg_by_name, peer_cfg_t*,
	private_encsync_backend_t *this, char *name)
{
	enumerator_t *enumerator;
	peer_cfg_t *cfg, *found = NULL;

	this->lock->read_lock(this->lock);
	enumerator = this->cfgs->create_enumerator(this->cfgs);
	while (enumerator->enumerate(enumerator, &cfg))
	{
		if (streq(cfg->get_name(cfg), name))
		{
			found = cfg->get_ref(cfg);
			break;
		}
	}
	enumerator->destroy(enumerator);
	this->lock->unlock(this->lock);
	return found;
}

METHOD(encsync_backend_t, destroy, void,
	private_encsync_backend_t *this)
{
	this->cfgs->destroy_offset(this->cfgs, offsetof(peer_cfg_t, destroy));
	this->lock->destroy(this->lock);
	free(this);
}

/*
 * Described in header.
 */
encsync_backend_t *encsync_backend_create(encsync_creds_t *creds)
{
	private_encsync_backend_t *this;

	INIT(this,
		.public = {
			.backend = {
				.create_peer_cfg_enumerator = _create_peer_cfg_enumerator,
				.create_ike_cfg_enumerator = _create_ike_cfg_enumerator,
				.get_peer_cfg_by_name = _get_peer_cfg_by_name,
			},
			.set_peer = _set_peer,
			.remove_peer = _remove_peer,
			.destroy = _destroy,
		},
		.creds = creds,
		.cfgs = linked_list_create(),
		.lock = rwlock_create(RWLOCK_TYPE_DEFAULT),
	);

	return &this->public;
}
