/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_socket.h"
#include "encsync_plugin.h"
#include "convert.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <daemon.h>
#include <threading/thread.h>

/** as in receiver.c and sender.c: distinguishes IKE from ESP on port 4500 */
#define NON_ESP_MARKER_LEN 4

typedef struct private_encsync_socket_t private_encsync_socket_t;

/**
 * Private data of an encsync_socket_t object.
 */
struct private_encsync_socket_t {

	/**
	 * Public encsync_socket_t interface.
	 */
	encsync_socket_t public;

	/**
	 * The channel
	 */
	int fd;

	/**
	 * TRUE once the hello was sent to encsyncd
	 */
	bool greeted;
};

/**
 * charon adds and expects a marker if neither port is 500. encsyncd adds it on
 * the wire, because only encsyncd knows the real ports.
 */
static bool has_marker(host_t *src, host_t *dst)
{
	return src->get_port(src) != IKEV2_UDP_PORT &&
		   dst->get_port(dst) != IKEV2_UDP_PORT;
}

METHOD(socket_t, receive, status_t,
	private_encsync_socket_t *this, packet_t **packet)
{
	struct pollfd pfd = {
		.fd = this->fd,
		.events = POLLIN,
	};
	encsync_ike_t ike;
	packet_t *pkt;
	host_t *src, *dst;
	chunk_t data, marker = chunk_from_chars(0x00, 0x00, 0x00, 0x00);
	bool oldstate;
	int ready;

	if (!this->greeted)
	{	/* not before this call: now the threads run */
		this->greeted = TRUE;
		encsync_core_hello(VERSION_STRONGSWAN);
	}
	while (TRUE)
	{
		oldstate = thread_cancelability(TRUE);
		ready = poll(&pfd, 1, -1);
		thread_cancelability(oldstate);
		if (ready < 0 && errno != EINTR)
		{
			return FAILED;
		}
		switch (encsync_core_receive(&ike))
		{
			case ENCSYNC_NOTHING:
				continue;
			case ENCSYNC_CLOSED:
				/* encsyncd has ended */
				kill(getpid(), SIGTERM);
				return NOT_SUPPORTED;
			case ENCSYNC_DATAGRAM:
				break;
		}
		break;
	}

	src = encsync_to_host(&ike.from.address, ike.from.port);
	dst = encsync_to_host(&ike.to.address, ike.to.port);
	data = chunk_create((u_char*)ike.data, ike.len);
	pkt = packet_create();
	pkt->set_data(pkt, has_marker(src, dst) ? chunk_cat("cc", marker, data)
											: chunk_clone(data));
	pkt->set_source(pkt, src);
	pkt->set_destination(pkt, dst);
	*packet = pkt;
	return SUCCESS;
}

METHOD(socket_t, send_, status_t,
	private_encsync_socket_t *this, packet_t *packet)
{
	encsync_endpoint_t from, to;
	host_t *src, *dst;
	chunk_t data;

	src = packet->get_source(packet);
	dst = packet->get_destination(packet);
	data = packet->get_data(packet);
	if (data.len == 1)
	{	/* a NAT keepalive: DPD keeps mappings alive already */
		return SUCCESS;
	}
	if (has_marker(src, dst))
	{
		if (data.len < NON_ESP_MARKER_LEN)
		{
			return FAILED;
		}
		data = chunk_skip(data, NON_ESP_MARKER_LEN);
	}
	from.address = encsync_from_host(src);
	from.port = src->get_port(src);
	to.address = encsync_from_host(dst);
	to.port = dst->get_port(dst);
	return encsync_core_send_ike(&from, &to, data.ptr, data.len) ? SUCCESS
																 : FAILED;
}

METHOD(socket_t, get_port, uint16_t,
	private_encsync_socket_t *this, bool nat_t)
{
	return nat_t ? IKEV2_NATT_PORT : IKEV2_UDP_PORT;
}

METHOD(socket_t, supported_families, socket_family_t,
	private_encsync_socket_t *this)
{
	return SOCKET_FAMILY_BOTH;
}

METHOD(socket_t, destroy, void,
	private_encsync_socket_t *this)
{
	free(this);
}

/*
 * Described in header.
 */
encsync_socket_t *encsync_socket_create()
{
	private_encsync_socket_t *this;

	INIT(this,
		.public = {
			.socket = {
				.receive = _receive,
				.send = _send_,
				.get_port = _get_port,
				.supported_families = _supported_families,
				.destroy = _destroy,
			},
		},
		.fd = encsync_plugin_channel(),
	);

	return &this->public;
}
