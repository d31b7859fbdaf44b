/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_net.h"
#include "convert.h"

/** name of the interface with all our addresses, as reported to charon */
#define IFACE "encsync"

typedef struct private_encsync_net_t private_encsync_net_t;

/**
 * Private data of an encsync_net_t object.
 */
struct private_encsync_net_t {

	/**
	 * Public encsync_net_t interface.
	 */
	encsync_net_t public;
};

METHOD(kernel_net_t, get_source_addr, host_t*,
	private_encsync_net_t *this, host_t *dest, host_t *src)
{
	encsync_address_t right, left;

	right = encsync_from_host(dest);
	if (encsync_core_left(encsync_core_peer_by_address(&right), &left))
	{
		return encsync_to_host(&left, 0);
	}
	return NULL;
}

METHOD(kernel_net_t, get_nexthop, host_t*,
	private_encsync_net_t *this, host_t *dest, int prefix, host_t *src,
	char **iface)
{
	if (iface)
	{
		*iface = strdup(IFACE);
	}
	return dest->clone(dest);
}

METHOD(kernel_net_t, get_interface, bool,
	private_encsync_net_t *this, host_t *host, char **name)
{
	encsync_address_t address, left;
	uint8_t peer;

	address = encsync_from_host(host);
	for (peer = 0; peer < ENCSYNC_MAX_PEERS; peer++)
	{
		if (encsync_core_left(peer, &left) && left.ipv6 == address.ipv6 &&
			memeq(left.bytes, address.bytes, address.ipv6 ? 16 : 4))
		{
			if (name)
			{
				*name = strdup(IFACE);
			}
			return TRUE;
		}
	}
	return FALSE;
}

METHOD(kernel_net_t, create_address_enumerator, enumerator_t*,
	private_encsync_net_t *this, kernel_address_type_t which)
{
	return enumerator_create_empty();
}

METHOD(kernel_net_t, create_local_subnet_enumerator, enumerator_t*,
	private_encsync_net_t *this)
{
	return enumerator_create_empty();
}

METHOD(kernel_net_t, add_ip, status_t,
	private_encsync_net_t *this, host_t *virtual_ip, int prefix, char *iface)
{
	return NOT_SUPPORTED;
}

METHOD(kernel_net_t, del_ip, status_t,
	private_encsync_net_t *this, host_t *virtual_ip, int prefix, bool wait)
{
	return NOT_SUPPORTED;
}

METHOD(kernel_net_t, add_route, status_t,
	private_encsync_net_t *this, chunk_t dst_net, uint8_t prefixlen,
	host_t *gateway, host_t *src_ip, char *if_name, bool pass)
{
	return NOT_SUPPORTED;
}

METHOD(kernel_net_t, del_route, status_t,
	private_encsync_net_t *this, chunk_t dst_net, uint8_t prefixlen,
	host_t *gateway, host_t *src_ip, char *if_name, bool pass)
{
	return NOT_SUPPORTED;
}

METHOD(kernel_net_t, destroy, void,
	private_encsync_net_t *this)
{
	free(this);
}

/*
 * Described in header.
 */
encsync_net_t *encsync_net_create()
{
	private_encsync_net_t *this;

	INIT(this,
		.public = {
			.interface = {
				.get_source_addr = _get_source_addr,
				.get_nexthop = _get_nexthop,
				.get_interface = _get_interface,
				.create_address_enumerator = _create_address_enumerator,
				.create_local_subnet_enumerator = _create_local_subnet_enumerator,
				.add_ip = _add_ip,
				.del_ip = _del_ip,
				.add_route = _add_route,
				.del_route = _del_route,
				.destroy = _destroy,
			},
		},
	);

	return &this->public;
}
