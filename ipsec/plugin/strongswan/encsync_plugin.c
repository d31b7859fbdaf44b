/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "encsync_plugin.h"
#include "encsync_backend.h"
#include "encsync_creds.h"
#include "encsync_ipsec.h"
#include "encsync_keeper.h"
#include "encsync_listener.h"
#include "encsync_logger.h"
#ifdef ENCSYNC_MLKEM
# include "encsync_mlkem.h"
#endif
#include "encsync_net.h"
#include "encsync_socket.h"
#include "compat.h"
#include "core.h"

#include <signal.h>
#include <unistd.h>

#include <daemon.h>
#include <processing/jobs/callback_job.h>

typedef struct private_encsync_plugin_t private_encsync_plugin_t;

/**
 * Private data of the plugin.
 */
struct private_encsync_plugin_t {

	/**
	 * Implements plugin_t.
	 */
	plugin_t public;

	/**
	 * The channel to encsyncd
	 */
	int fd;

	/**
	 * Credentials
	 */
	encsync_creds_t *creds;

	/**
	 * The peers
	 */
	encsync_backend_t *backend;

	/**
	 * Keeps the peers up
	 */
	encsync_keeper_t *keeper;

	/**
	 * Reports on the peers
	 */
	encsync_listener_t *listener;

	/**
	 * Passes charon's log on
	 */
	encsync_logger_t *logger;
};

/**
 * The one instance, for orders from the channel
 */
static private_encsync_plugin_t *plugin;

/*
 * Described in header.
 */
int encsync_plugin_channel()
{
	return plugin->fd;
}

static void set_identity(const char *name, const uint8_t seed[ENCSYNC_KEY_SIZE],
						 const uint8_t *next)
{
	plugin->creds->set_identity(plugin->creds, name, seed, next);
}

static void set_peer(const encsync_peer_t *peer)
{
	plugin->creds->set_peer(plugin->creds, peer);
	plugin->backend->set_peer(plugin->backend, peer);
}

static void remove_peer(uint8_t id, const char *name)
{
	plugin->backend->remove_peer(plugin->backend, name);
	plugin->creds->remove_peer(plugin->creds, id);
}

static void terminate(const char *name)
{
	plugin->keeper->terminate(plugin->keeper, name);
}

static void cut(const char *name)
{
	plugin->keeper->cut(plugin->keeper, name);
}

static void initiate(const char *name)
{
	plugin->keeper->initiate(plugin->keeper, name);
}

static void rekey(const char *name, bool reauthenticate)
{
	plugin->keeper->rekey(plugin->keeper, name, reauthenticate);
}

static void expire(uint32_t spi, const encsync_address_t *address)
{
	host_t *dst;

	dst = host_create_from_chunk(address->ipv6 ? AF_INET6 : AF_INET,
							chunk_create((u_char*)address->bytes,
										 address->ipv6 ? 16 : 4), 0);
	charon->kernel->expire(charon->kernel, IPPROTO_ESP, htonl(spi), dst, FALSE);
	dst->destroy(dst);
}

CALLBACK(pong, job_requeue_t,
	uint32_t *cookie)
{
	encsync_core_pong(*cookie);
	return JOB_REQUEUE_NONE;
}

static void ping(uint32_t cookie)
{
	uint32_t *data;

	data = malloc_thing(uint32_t);
	*data = cookie;
	/* answered by a worker thread: the ping tests whether these still run */
	lib->processor->queue_job(lib->processor, (job_t*)
				callback_job_create(pong, data, free,
									(callback_job_cancel_t)return_false));
}

static void stop(void)
{
	/* charon deletes its SAs when it exits */
	kill(getpid(), SIGTERM);
}

/**
 * Create, or destroy, the parts that use objects of charon
 */
static bool set_up(private_encsync_plugin_t *this, plugin_feature_t *feature,
				   bool reg, void *data)
{
	static const encsync_orders_t orders = {
		.set_identity = set_identity,
		.set_peer = set_peer,
		.remove_peer = remove_peer,
		.terminate = terminate,
		.cut = cut,
		.initiate = initiate,
		.rekey = rekey,
		.expire = expire,
		.ping = ping,
		.shutdown = stop,
	};

	if (reg)
	{
		this->logger = encsync_logger_create();
		this->creds = encsync_creds_create();
		this->backend = encsync_backend_create(this->creds);
		charon->backends->add_backend(charon->backends,
									  &this->backend->backend);
		this->keeper = encsync_keeper_create(this->backend, this->creds);
		this->listener = encsync_listener_create(this->creds);
		encsync_core_set_orders(&orders);
	}
	else
	{
		this->listener->destroy(this->listener);
		this->keeper->destroy(this->keeper);
		charon->backends->remove_backend(charon->backends,
										 &this->backend->backend);
		this->backend->destroy(this->backend);
		this->creds->destroy(this->creds);
		this->logger->destroy(this->logger);
	}
	return TRUE;
}

METHOD(plugin_t, get_name, char*,
	private_encsync_plugin_t *this)
{
	return "encsync";
}

METHOD(plugin_t, get_features, int,
	private_encsync_plugin_t *this, plugin_feature_t *features[])
{
	static plugin_feature_t f[] = {
		PLUGIN_CALLBACK((plugin_feature_callback_t)set_up, NULL),
			PLUGIN_PROVIDE(CUSTOM, "encsync"),
				PLUGIN_DEPENDS(PRIVKEY, KEY_ED25519),
				PLUGIN_DEPENDS(PUBKEY, KEY_ED25519),
				PLUGIN_DEPENDS(HASHER, HASH_IDENTITY),
				PLUGIN_DEPENDS(HASHER, HASH_SHA256),
				PLUGIN_DEPENDS(CERT_DECODE, CERT_TRUSTED_PUBKEY),
		PLUGIN_CALLBACK(kernel_ipsec_register, encsync_ipsec_create),
			PLUGIN_PROVIDE(CUSTOM, "kernel-ipsec"),
		PLUGIN_CALLBACK(kernel_net_register, encsync_net_create),
			PLUGIN_PROVIDE(CUSTOM, "kernel-net"),
		PLUGIN_CALLBACK(socket_register, encsync_socket_create),
			PLUGIN_PROVIDE(CUSTOM, "socket"),
				PLUGIN_DEPENDS(CUSTOM, "encsync"),
#ifdef ENCSYNC_MLKEM
		PLUGIN_REGISTER(KE, encsync_mlkem_create),
			PLUGIN_PROVIDE(KE, ML_KEM_768),
#endif
	};
	*features = f;
	return countof(f);
}

METHOD(plugin_t, destroy, void,
	private_encsync_plugin_t *this)
{
	plugin = NULL;
	free(this);
}

/**
 * Create the plugin; called by charon
 */
__attribute__((visibility("default"))) plugin_t *encsync_plugin_create()
{
	private_encsync_plugin_t *this;
	int fd;

	if (!encsync_compat_fits())
	{
		return NULL;
	}
	fd = encsync_core_open();
	if (fd < 0)
	{
		DBG1(DBG_LIB, "encsync: this charon was not started by encsyncd");
		return NULL;
	}

	INIT(this,
		.public = {
			.get_name = _get_name,
			.get_features = _get_features,
			.destroy = _destroy,
		},
		.fd = fd,
	);
	plugin = this;

	return &this->public;
}
