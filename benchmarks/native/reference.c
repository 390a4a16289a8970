/* What app_ami_kafka does with each event, as a bare loop: the yardstick of the benchmarks.
 *
 *     reference PORT BROKERS TOPIC COUNT
 *
 * Logs in on PORT of loopback, then for each of COUNT events: a jansson object of its lines, dumped, eight
 * headers, rd_kafka_producev with the event's name as key, delivery reports taken by polling. Prints the
 * monotonic time in seconds at which the last one was delivered, and the CPU seconds used.
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

static rd_kafka_t *producer(const char *brokers)
{
	/* res_kafka's defaults. */
	const char *settings[][2] = {
		{ "bootstrap.servers", brokers }, { "client.id", "asterisk" }, { "queue.buffering.max.ms", "5" },
		{ "batch.num.messages", "10000" }, { "batch.size", "1000000" }, { "acks", "-1" },
		{ "queue.buffering.max.messages", "100000" },
	};
	char error[512];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
		if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], error, sizeof(error)) != RD_KAFKA_CONF_OK) {
			die(error);
		}
	}
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (!kafka) {
		die(error);
	}
	return kafka;
}

static void publish(rd_kafka_t *kafka, const char *topic, char *event)
{
	char name[80] = "", category[80] = "", stamp[40] = "";
	json_t *object = json_object();
	char *rest, *line = strtok_r(event, "\r\n", &rest);

	json_object_set_new(object, "EntityID", json_string("00:11:22:33:44:55"));
	json_object_set_new(object, "SystemName", json_string("pbx-01"));
	for (; line; line = strtok_r(NULL, "\r\n", &rest)) {
		char *value = strstr(line, ": ");
		if (!value) {
			continue;
		}
		*value = '\0';
		value += 2;
		json_object_set_new(object, line, json_string(value));
		if (!strcmp(line, "Event")) {
			snprintf(name, sizeof(name), "%s", value);
		} else if (!strcmp(line, "Privilege")) {
			snprintf(category, sizeof(category), "%.*s", (int) strcspn(value, ","), value);
		} else if (!strcmp(line, "Timestamp")) {
			snprintf(stamp, sizeof(stamp), "%.*s", (int) strcspn(value, "."), value);
		}
	}
	char *payload = json_dumps(object, JSON_COMPACT);
	json_decref(object);

	rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
	const char *pairs[][2] = {
		{ "entity_id", "00:11:22:33:44:55" }, { "system_name", "pbx-01" }, { "asterisk_version", "22.10.1" },
		{ "event_type", name }, { "event_category", category }, { "format", "json" }, { "timestamp", stamp },
		{ "hostname", "vm" },
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		rd_kafka_header_add(headers, pairs[i][0], -1, pairs[i][1], -1);
	}
	for (;;) {
		rd_kafka_resp_err_t error = rd_kafka_producev(kafka, RD_KAFKA_V_TOPIC(topic),
			RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(name, strlen(name)),
			RD_KAFKA_V_VALUE(payload, strlen(payload)), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
		if (!error) {
			break;
		}
		if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
			die(rd_kafka_err2str(error));
		}
		rd_kafka_poll(kafka, 1);
	}
	free(payload);
	rd_kafka_poll(kafka, 0);
}

static int connect_to(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	const char login[] = "Action: Login\r\nActionID: 1\r\n\r\nAction: Events\r\nActionID: 2\r\n\r\n";
	if (connect(fd, (struct sockaddr *) &address, sizeof(address)) || write(fd, login, sizeof(login) - 1) < 0) {
		die("cannot log in");
	}
	return fd;
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		die("usage: reference PORT BROKERS TOPIC COUNT");
	}
	static char buffer[1 << 20];
	size_t held = 0;
	long count = atol(argv[4]), seen = 0;
	rd_kafka_t *kafka = producer(argv[2]);
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
			if (!strncmp(event, "Event: ", 7)) {
				publish(kafka, argv[3], event);
				seen++;
			}
			event = end + 4;
		}
		held -= event - buffer;
		memmove(buffer, event, held);
	}
	while (delivered + failed < count) {
		rd_kafka_poll(kafka, 10);
	}
	struct timespec now;
	struct rusage used;
	clock_gettime(CLOCK_MONOTONIC, &now);
	getrusage(RUSAGE_SELF, &used);
	printf("%.6f %.6f %ld\n", now.tv_sec + now.tv_nsec / 1e9,
		used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6, failed);
	return failed ? 1 : 0;
}
