/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_mlkem.h"
#include "mlkem.h"

#include <library.h>

typedef struct private_encsync_mlkem_t private_encsync_mlkem_t;

/**
 * Private data of a key_exchange_t object.
 */
struct private_encsync_mlkem_t {

	/**
	 * Public key_exchange_t interface.
	 */
	key_exchange_t public;

	/**
	 * What does it
	 */
	encsync_mlkem_t *kem;
};

METHOD(key_exchange_t, get_shared_secret, bool,
	private_encsync_mlkem_t *this, chunk_t *secret)
{
	const uint8_t *data;

	data = encsync_mlkem_get_secret(this->kem);
	if (!data)
	{
		return FALSE;
	}
	*secret = chunk_clone(chunk_create((u_char*)data, ENCSYNC_MLKEM_SECRET_SIZE));
	return TRUE;
}

METHOD(key_exchange_t, set_public_key, bool,
	private_encsync_mlkem_t *this, chunk_t value)
{
	char why[256];

	if (!encsync_mlkem_set_public_key(this->kem, value.ptr, value.len, why,
									  sizeof(why)))
	{
		DBG1(DBG_LIB, "refusing a key exchange: %s", why);
		return FALSE;
	}
	return TRUE;
}

METHOD(key_exchange_t, get_public_key, bool,
	private_encsync_mlkem_t *this, chunk_t *value)
{
	const uint8_t *data;
	char why[256];
	size_t len;

	if (!encsync_mlkem_get_public_key(this->kem, &data, &len, why, sizeof(why)))
	{
		DBG1(DBG_LIB, "no key exchange: %s", why);
		return FALSE;
	}
	*value = chunk_clone(chunk_create((u_char*)data, len));
	return TRUE;
}

METHOD(key_exchange_t, get_method, key_exchange_method_t,
	private_encsync_mlkem_t *this)
{
	return ML_KEM_768;
}

METHOD(key_exchange_t, destroy, void,
	private_encsync_mlkem_t *this)
{
	encsync_mlkem_free(this->kem);
	free(this);
}

/*
 * Described in header.
 */
key_exchange_t *encsync_mlkem_create(key_exchange_method_t method, ...)
{
	private_encsync_mlkem_t *this;

	INIT(this,
		.public = {
			.get_shared_secret = _get_shared_secret,
			.set_public_key = _set_public_key,
			.get_public_key = _get_public_key,
			.get_method = _get_method,
			.destroy = _destroy,
		},
		.kem = encsync_mlkem_new(),
	);

	return &this->public;
}
