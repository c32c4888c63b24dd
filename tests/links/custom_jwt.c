/* A Mosquitto that logs clients in as Azure Event Grid does: a plugin for the tests of links.
 *
 * It knows enhanced authentication with the method CUSTOM-JWT, the renewal of the token on the connection, topic spaces of
 * the form devices/<authentication name>/#, one authentication name for each client id, and the end of a session whose
 * token is over. It does not know: webhooks, Entra ID, groups and attributes, limits of rate and size, routing, sessions
 * that end after 100 messages. What Event Grid answers to a fault is not published; the codes here are those of MQTT 5.
 *
 * Options: jwt_key (file: public keys or certificates, one after the other), jwt_iss, jwt_aud (accepted audiences, by spaces), jwt_sub
 * (registered authentication names, by spaces; none: any), reader (user name of a client that may read and write
 * everything), deny_publish (one topic that only the reader may publish to). The key file is read at each login, so
 * the key is rotated by writing it again.
 *
 * cc -fPIC -shared -o custom_jwt.so custom_jwt.c -lcjson -lcrypto
 */
#include <cjson/cJSON.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

#define METHOD "CUSTOM-JWT"
#define MOST_CLIENTS 64
#define LONGEST_TOKEN 8192
#define LONGEST_NAME 256

/* Whom a client id belongs to, and when the token of its connection ends. */
struct session {
	char client_id[LONGEST_NAME];
	char name[LONGEST_NAME];
	time_t ends;
	bool connected;
};

static mosquitto_plugin_id_t *plugin;
static struct session sessions[MOST_CLIENTS];
static const char *jwt_key, *jwt_iss, *jwt_aud, *jwt_sub, *reader, *deny_publish;

static int refuse(const char *client_id, const char *why)
{
	mosquitto_log_printf(MOSQ_LOG_NOTICE, "custom_jwt: %s refused: %s", client_id, why);
	return MOSQ_ERR_AUTH;
}

/* Whether a list with spaces between its entries has this one. */
static bool has_entry(const char *list, const char *entry)
{
	size_t length = strlen(entry);
	for(const char *at = list; length > 0 && (at = strstr(at, entry)); at += length){
		bool starts = at == list || at[-1] == ' ';
		if(starts && (at[length] == ' ' || at[length] == 0)) return true;
	}
	return false;
}

/* base64url without padding; the length, or -1. */
static int decode(const char *text, size_t length, unsigned char *out, size_t room)
{
	char padded[LONGEST_TOKEN + 4];
	size_t whole = (length + 3) / 4 * 4;
	if(length == 0 || whole > LONGEST_TOKEN || whole / 4 * 3 > room) return -1;
	for(size_t i = 0; i < length; i++){
		padded[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
	}
	memset(padded + length, '=', whole - length);
	int decoded = EVP_DecodeBlock(out, (unsigned char *)padded, (int)whole);
	return decoded < 0 ? -1 : decoded - (int)(whole - length);
}

static cJSON *decode_json(const char *text, size_t length)
{
	unsigned char plain[LONGEST_TOKEN];
	int size = decode(text, length, plain, sizeof plain - 1);
	if(size < 0) return NULL;
	plain[size] = 0;
	return cJSON_Parse((char *)plain);
}

static bool verifies(EVP_PKEY *key, const char *text, size_t length, const unsigned char *signature, size_t size)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good = EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1
		&& EVP_DigestVerify(context, signature, size, (const unsigned char *)text, length) == 1;
	EVP_MD_CTX_free(context);
	return good;
}

/* Whether one of the public keys or certificates in the file made this RS256 signature. */
static bool signed_by_us(const char *text, size_t length, const unsigned char *signature, size_t size)
{
	bool good = false;
	EVP_PKEY *key;
	X509 *certificate;
	FILE *file = fopen(jwt_key, "r");
	if(!file) return false;
	while(!good && (key = PEM_read_PUBKEY(file, NULL, NULL, NULL))){
		good = verifies(key, text, length, signature, size);
		EVP_PKEY_free(key);
	}
	rewind(file);
	while(!good && (certificate = PEM_read_X509(file, NULL, NULL, NULL))){
		good = verifies(X509_get0_pubkey(certificate), text, length, signature, size);
		X509_free(certificate);
	}
	fclose(file);
	return good;
}

static const char *text_of(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
	return cJSON_IsString(item) ? item->valuestring : "";
}

static time_t time_of(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
	return cJSON_IsNumber(item) ? (time_t)item->valuedouble : -1;
}

/* A text, or a list of texts: one of them must be accepted. */
static bool audience_fits(const cJSON *claims)
{
	const cJSON *aud = cJSON_GetObjectItemCaseSensitive(claims, "aud"), *one;
	if(cJSON_IsString(aud)) return has_entry(jwt_aud, aud->valuestring);
	cJSON_ArrayForEach(one, aud){
		if(cJSON_IsString(one) && has_entry(jwt_aud, one->valuestring)) return true;
	}
	return false;
}

/* NULL, or the claim at fault. */
static const char *fault_of(const cJSON *header, const cJSON *claims)
{
	time_t now = time(NULL);
	if(strcmp(text_of(header, "alg"), "RS256")) return "alg";
	if(strcmp(text_of(header, "typ"), "JWT") && strcmp(text_of(header, "typ"), "JWS")) return "typ";
	if(strcmp(text_of(claims, "iss"), jwt_iss)) return "iss";
	if(!audience_fits(claims)) return "aud";
	if(time_of(claims, "nbf") < 0 || time_of(claims, "nbf") > now) return "nbf";
	if(time_of(claims, "exp") <= now) return "exp";
	if(!*text_of(claims, "sub") || strlen(text_of(claims, "sub")) >= LONGEST_NAME) return "sub";
	if(jwt_sub && !has_entry(jwt_sub, text_of(claims, "sub"))) return "sub is no registered client";
	return NULL;
}

/* The entry of a client id; a free one if it has none yet. */
static struct session *session_of(const char *client_id)
{
	struct session *unused = NULL;
	for(int i = 0; i < MOST_CLIENTS; i++){
		if(!strcmp(sessions[i].client_id, client_id)) return &sessions[i];
		if(!unused && !sessions[i].client_id[0]) unused = &sessions[i];
	}
	if(unused && strlen(client_id) < LONGEST_NAME) strcpy(unused->client_id, client_id);
	else unused = NULL;
	return unused;
}

static int let_in(struct mosquitto *client, const cJSON *claims)
{
	const char *client_id = mosquitto_client_id(client), *name = text_of(claims, "sub");
	const char *before = mosquitto_client_username(client);
	if(before && strcmp(before, name)) return refuse(client_id, "a renewal has another sub");
	struct session *session = session_of(client_id);
	if(!session) return refuse(client_id, "too many clients");
	if(session->name[0] && strcmp(session->name, name)){
		return refuse(client_id, "the client id belongs to another authentication name");
	}
	strcpy(session->name, name);
	session->ends = time_of(claims, "exp");
	session->connected = true;
	mosquitto_log_printf(MOSQ_LOG_NOTICE, "custom_jwt: %s %s as %s", client_id,
		before ? "renewed" : "logged in", name);
	return before ? MOSQ_ERR_SUCCESS : mosquitto_set_username(client, name);
}

/* CONNECT, and each AUTH with reason code 0x19. */
static int on_token(int event, void *data, void *userdata)
{
	struct mosquitto_evt_extended_auth *auth = data;
	const char *client_id = mosquitto_client_id(auth->client);
	char token[LONGEST_TOKEN];
	unsigned char signature[1024];
	(void)event;
	(void)userdata;
	if(!auth->auth_method || strcmp(auth->auth_method, METHOD)) return MOSQ_ERR_NOT_SUPPORTED;
	if(!auth->data_in || auth->data_in_len >= sizeof token) return refuse(client_id, "no token");
	memcpy(token, auth->data_in, auth->data_in_len);
	token[auth->data_in_len] = 0;
	char *first = strchr(token, '.'), *second = first ? strchr(first + 1, '.') : NULL;
	if(!second) return refuse(client_id, "not a token");
	int size = decode(second + 1, strlen(second + 1), signature, sizeof signature);
	if(size < 0 || !signed_by_us(token, (size_t)(second - token), signature, (size_t)size)){
		return refuse(client_id, "signature");
	}
	cJSON *header = decode_json(token, (size_t)(first - token));
	cJSON *claims = decode_json(first + 1, (size_t)(second - first - 1));
	const char *fault = header && claims ? fault_of(header, claims) : "not JSON";
	int code = fault ? refuse(client_id, fault) : let_in(auth->client, claims);
	cJSON_Delete(header);
	cJSON_Delete(claims);
	return code;
}

/* Topic spaces: devices/<authentication name>/... is a client's own, for both directions. */
static int on_access(int event, void *data, void *userdata)
{
	struct mosquitto_evt_acl_check *check = data;
	const char *name = mosquitto_client_username(check->client);
	char own[LONGEST_NAME + 16];
	(void)event;
	(void)userdata;
	if(check->access == MOSQ_ACL_UNSUBSCRIBE) return MOSQ_ERR_SUCCESS;
	if(!name) return MOSQ_ERR_ACL_DENIED;
	if(reader && !strcmp(name, reader)) return MOSQ_ERR_SUCCESS;
	if(check->access == MOSQ_ACL_WRITE && deny_publish && !strcmp(check->topic, deny_publish)){
		return MOSQ_ERR_ACL_DENIED;
	}
	snprintf(own, sizeof own, "devices/%s/", name);
	return strncmp(check->topic, own, strlen(own)) ? MOSQ_ERR_ACL_DENIED : MOSQ_ERR_SUCCESS;
}

static int on_disconnect(int event, void *data, void *userdata)
{
	struct mosquitto_evt_disconnect *gone = data;
	const char *client_id = mosquitto_client_id(gone->client);
	(void)event;
	(void)userdata;
	/* A client that was refused has none any more. */
	struct session *session = client_id ? session_of(client_id) : NULL;
	if(session) session->connected = false;
	return MOSQ_ERR_SUCCESS;
}

/* A connection does not outlast its token. */
static int on_tick(int event, void *data, void *userdata)
{
	time_t now = time(NULL);
	(void)event;
	(void)data;
	(void)userdata;
	for(int i = 0; i < MOST_CLIENTS; i++){
		if(!sessions[i].connected || sessions[i].ends > now) continue;
		sessions[i].connected = false;
		mosquitto_log_printf(MOSQ_LOG_NOTICE, "custom_jwt: the token of %s is over", sessions[i].client_id);
		mosquitto_kick_client_by_clientid(sessions[i].client_id, false);
	}
	return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_version(int count, const int *versions)
{
	for(int i = 0; i < count; i++){
		if(versions[i] == 5) return 5;
	}
	return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **userdata, struct mosquitto_opt *options, int count)
{
	(void)userdata;
	plugin = id;
	for(int i = 0; i < count; i++){
		const char *key = options[i].key, *value = options[i].value;
		if(!strcmp(key, "jwt_key")) jwt_key = value;
		else if(!strcmp(key, "jwt_iss")) jwt_iss = value;
		else if(!strcmp(key, "jwt_aud")) jwt_aud = value;
		else if(!strcmp(key, "jwt_sub")) jwt_sub = value;
		else if(!strcmp(key, "reader")) reader = value;
		else if(!strcmp(key, "deny_publish")) deny_publish = value;
	}
	if(!jwt_key || !jwt_iss || !jwt_aud) return MOSQ_ERR_INVAL;
	mosquitto_callback_register(id, MOSQ_EVT_EXT_AUTH_START, on_token, NULL, NULL);
	mosquitto_callback_register(id, MOSQ_EVT_ACL_CHECK, on_access, NULL, NULL);
	mosquitto_callback_register(id, MOSQ_EVT_DISCONNECT, on_disconnect, NULL, NULL);
	mosquitto_callback_register(id, MOSQ_EVT_TICK, on_tick, NULL, NULL);
	return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int count)
{
	(void)userdata;
	(void)options;
	(void)count;
	mosquitto_callback_unregister(plugin, MOSQ_EVT_EXT_AUTH_START, on_token, NULL);
	mosquitto_callback_unregister(plugin, MOSQ_EVT_ACL_CHECK, on_access, NULL);
	mosquitto_callback_unregister(plugin, MOSQ_EVT_DISCONNECT, on_disconnect, NULL);
	mosquitto_callback_unregister(plugin, MOSQ_EVT_TICK, on_tick, NULL);
	return MOSQ_ERR_SUCCESS;
}
