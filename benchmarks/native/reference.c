/* What app_ami_kafka and res_kafka do with each event, as a bare loop: the yardstick of the benchmarks.
 *
 *     reference PORT BROKERS TOPIC COUNT [PROPERTY=VALUE...]
 *
 * Logs in on PORT of loopback, then for each of COUNT events: a jansson object of its lines, dumped, eight
 * headers, rd_kafka_producev with the event's name as key. It has no journal and no ledger: what is lost is lost,
 * as in the module. In two things it is better than the module, so that nobody can say that the yardstick is
 * short: it takes delivery reports after each event, where res_kafka's thread does ten times a second, which costs
 * 15 % more CPU; and it waits while the queue is full, where the module drops the event after 100 ms.
 *
 * Prints the monotonic time in seconds at which the last event was delivered, the CPU seconds used, and how
 * many were not delivered.
 */
#include <arpa/inet.h>
#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char entity_id[] = "00:11:22:33:44:55", system_name[] = "pbx-01";
static char hostname[256];
static long delivered, failed;

static void on_delivery(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque)
{
	(void) kafka, (void) opaque;
	if (message->err) {
		failed++;
	} else {
		delivered++;
	}
}

static void die(const char *what)
{
	fprintf(stderr, "reference: %s\n", what);
	exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char error[512];
	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK) {
		die(error);
	}
}

static rd_kafka_t *producer(const char *brokers, char **properties)
{
	/* res_kafka's defaults. */
	static const char *settings[][2] = {
		{ "client.id", "asterisk" }, { "message.max.bytes", "1000000" }, { "request.timeout.ms", "5000" },
		{ "message.timeout.ms", "300000" }, { "queue.buffering.max.ms", "5" }, { "batch.num.messages", "10000" },
		{ "batch.size", "1000000" }, { "queue.buffering.max.messages", "100000" },
		{ "queue.buffering.max.kbytes", "1048576" }, { "request.required.acks", "-1" },
		{ "message.send.max.retries", "2147483647" }, { "enable.idempotence", "false" },
	};
	char error[512];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	set(conf, "bootstrap.servers", brokers);
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
		set(conf, settings[i][0], settings[i][1]);
	}
	for (; *properties; properties++) {
		char *value = strchr(*properties, '=');
		if (!value) {
			die("a property needs a value");
		}
		*value = '\0';
		set(conf, *properties, value + 1);
	}
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (!kafka) {
		die(error);
	}
	return kafka;
}

/* Asterisk hands over the event's name, and its classes as a number. */
static void value_of(char *to, size_t size, const char *event, const char *name)
{
	const char *found = strstr(event, name);
	found = found ? found + strlen(name) : "";
	snprintf(to, size, "%.*s", (int) strcspn(found, "\r"), found);
}

static void publish(rd_kafka_t *kafka, const char *topic, char *event)
{
	char name[80], category[80], stamp[40], *rest, *line;
	json_t *object = json_object();

	value_of(name, sizeof(name), event, "Event: ");
	value_of(category, sizeof(category), event, "\r\nPrivilege: ");
	if ((line = strstr(category, ",all"))) {
		*line = '\0';
	}
	snprintf(stamp, sizeof(stamp), "%ld", (long) time(NULL));
	json_object_set_new(object, "Event", json_string(name));
	json_object_set_new(object, "EntityID", json_string(entity_id));
	json_object_set_new(object, "SystemName", json_string(system_name));
	for (line = strtok_r(event, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest)) {
		char *value = strstr(line, ": ");
		if (!value) {
			continue;
		}
		*value = '\0';
		json_object_set_new(object, line, json_string(value + 2));
	}
	char *payload = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);

	const char *pairs[][2] = {
		{ "entity_id", entity_id }, { "system_name", system_name }, { "asterisk_version", "22.10.1" },
		{ "event_type", name }, { "event_category", category }, { "format", "json" }, { "timestamp", stamp },
		{ "hostname", hostname },
	};
	rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		rd_kafka_header_add(headers, pairs[i][0], -1, pairs[i][1], -1);
	}
	for (;;) {
		rd_kafka_resp_err_t error = rd_kafka_producev(kafka, RD_KAFKA_V_TOPIC(topic),
			RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE(payload, strlen(payload)),
			RD_KAFKA_V_KEY(name, strlen(name)), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
		if (!error) {
			break;
		}
		if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
			die(rd_kafka_err2str(error));
		}
		rd_kafka_poll(kafka, 1);
	}
	free(payload);
	json_decref(object);
	rd_kafka_poll(kafka, 0);
}

static int connect_to(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	const char login[] = "Action: Login\r\nActionID: 1\r\n\r\nAction: Events\r\nActionID: 2\r\n\r\n"
		"Action: Ping\r\nActionID: 3\r\n\r\n";
	if (connect(fd, (struct sockaddr *) &address, sizeof(address)) || write(fd, login, sizeof(login) - 1) < 0) {
		die("cannot log in");
	}
	return fd;
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		die("usage: reference PORT BROKERS TOPIC COUNT [PROPERTY=VALUE...]");
	}
	static char buffer[1 << 20];
	size_t held = 0;
	long count = atol(argv[4]), seen = 0;
	gethostname(hostname, sizeof(hostname) - 1);
	rd_kafka_t *kafka = producer(argv[2], argv + 5);
	int fd = connect_to(atoi(argv[1]));

	while (seen < count) {
		ssize_t got = read(fd, buffer + held, sizeof(buffer) - 1 - held);
		if (got <= 0) {
			die("the connection ended early");
		}
		held += got;
		buffer[held] = '\0';
		char *event = buffer, *end;
		while ((end = strstr(event, "\r\n\r\n"))) {
			*end = '\0';
			/* The greeting is sent to this session alone; the module never sees it. */
			if (!strncmp(event, "Event: ", 7) && strncmp(event, "Event: FullyBooted", 18)) {
				publish(kafka, argv[3], event);
				seen++;
			}
			event = end + 4;
		}
		held -= event - buffer;
		memmove(buffer, event, held);
	}
	while (delivered + failed < count) {
		rd_kafka_poll(kafka, 5);
	}
	struct timespec now;
	struct rusage used;
	clock_gettime(CLOCK_MONOTONIC, &now);
	getrusage(RUSAGE_SELF, &used);
	printf("%.6f %.6f %ld\n", now.tv_sec + now.tv_nsec / 1e9,
		used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
		failed);
	return failed ? 1 : 0;
}
