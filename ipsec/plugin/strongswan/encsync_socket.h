/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * IKE datagrams through the channel to encsyncd, which owns the real sockets.
 */

#ifndef ENCSYNC_SOCKET_H_
#define ENCSYNC_SOCKET_H_

#include <network/socket.h>

typedef struct encsync_socket_t encsync_socket_t;

/**
 * Socket implementation on the channel. Its receiving thread also carries out
 * the orders that arrive between datagrams.
 */
struct encsync_socket_t {

	/**
	 * Implements socket_t.
	 */
	socket_t socket;
};

/**
 * Create an encsync_socket_t instance (socket_constructor_t).
 */
encsync_socket_t *encsync_socket_create();

#endif /** ENCSYNC_SOCKET_H_ */
