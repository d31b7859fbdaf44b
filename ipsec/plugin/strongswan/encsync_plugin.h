/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/**
 * The plugin that makes charon encsyncd's IKE daemon: it gets its peers and
 * keys from there, sends and receives its datagrams through it, and hands its
 * SAs to it. It does nothing but IKEv2.
 */

#ifndef ENCSYNC_PLUGIN_H_
#define ENCSYNC_PLUGIN_H_

#include <plugins/plugin.h>

/**
 * The descriptor of the channel to encsyncd.
 */
int encsync_plugin_channel();

#endif /** ENCSYNC_PLUGIN_H_ */
