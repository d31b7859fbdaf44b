/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_psk.h"
#include "encsync_auth.h"
#include "convert.h"

#include <daemon.h>

typedef struct chooser_t chooser_t;

/**
 * What mem_cred_t does
 */
static enumerator_t *(*create_all)(credential_set_t *set, shared_key_type_t type,
								   identification_t *me, identification_t *other);

/**
 * The key that the calling thread was given last to check a peer's AUTH payload, and the IKE_SA
 * that this was for
 */
static __thread struct {
	uint32_t ike_sa;
	uint8_t id[ENCSYNC_KEY_SIZE];
} checked;

/**
 * Enumerator over preshared keys
 */
struct chooser_t {

	/**
	 * Implements enumerator_t
	 */
	enumerator_t public;

	/**
	 * Over all that match
	 */
	enumerator_t *all;
};

/*
 * Described in header.
 */
void encsync_psk_load(mem_cred_t *set, const encsync_peer_t *peer,
					  const encsync_credential_t *psk)
{
	shared_key_t *shared;

	shared = shared_key_create(SHARED_IKE,
				chunk_clone(chunk_create((u_char*)psk->data, psk->len)));
	set->add_shared(set, shared, encsync_fqdn(peer->leftid),
					encsync_fqdn(peer->rightid), NULL);
}

METHOD(enumerator_t, choose, bool,
	chooser_t *this, va_list args)
{
	uint8_t id[ENCSYNC_KEY_SIZE];
	shared_key_t **key;
	id_match_t *me, *other;
	ike_sa_t *ike_sa;
	uint32_t unique;

	VA_ARGS_VGET(args, key, me, other);
	ike_sa = charon->bus->get_sa(charon->bus);
	unique = ike_sa ? ike_sa->get_unique_id(ike_sa) : 0;
	while (this->all->enumerate(this->all, key, me, other))
	{
		if (!ike_sa || !encsync_digest((*key)->get_key(*key), id))
		{
			return TRUE;
		}
		if (!me)
		{	/* to check an AUTH payload, charon tries all, and does not ask how they match */
			checked.ike_sa = unique;
			memcpy(checked.id, id, sizeof(id));
			return TRUE;
		}
		if (checked.ike_sa != unique || memeq(checked.id, id, sizeof(id)))
		{
			encsync_auth_note(ike_sa, id);
			return TRUE;
		}
	}
	return FALSE;
}

METHOD(enumerator_t, chooser_destroy, void,
	chooser_t *this)
{
	this->all->destroy(this->all);
	free(this);
}

METHOD(credential_set_t, create_shared_enumerator, enumerator_t*,
	credential_set_t *set, shared_key_type_t type, identification_t *me,
	identification_t *other)
{
	enumerator_t *all;
	chooser_t *this;

	all = create_all(set, type, me, other);
	if (type != SHARED_IKE)
	{
		return all;
	}
	INIT(this,
		.public = {
			.enumerate = enumerator_enumerate_default,
			.venumerate = _choose,
			.destroy = _chooser_destroy,
		},
		.all = all,
	);
	return &this->public;
}

/*
 * Described in header.
 */
void encsync_psk_choose(mem_cred_t *set)
{
	create_all = set->set.create_shared_enumerator;
	set->set.create_shared_enumerator = _create_shared_enumerator;
}
