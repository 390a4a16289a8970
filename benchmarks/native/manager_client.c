/* Two manager sessions that cost next to nothing: one that only reads, one that raises events.
 *
 *     manager_client listen PORT USER SECRET
 *     manager_client flood PORT USER SECRET COUNT LINES
 *
 * `listen` reads until the connection ends or it gets SIGTERM, then prints how many bytes there were. `flood`
 * sends COUNT actions UserEvent of LINES lines each, many on the way at once, and prints the seconds until the
 * last was answered.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stopped;

static void stop(int number)
{
	(void) number;
	stopped = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "manager_client: %s\n", what);
	exit(1);
}

static int log_in(char **argv, const char *events)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])) };
	char text[1024];
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int length = snprintf(text, sizeof(text),
		"Action: Login\r\nUsername: %s\r\nSecret: %s\r\nEvents: %s\r\n\r\n", argv[3], argv[4], events);
	if (connect(fd, (struct sockaddr *) &address, sizeof(address)) || write(fd, text, length) != length) {
		die("cannot log in");
	}
	size_t held = 0;
	while (held < sizeof(text) - 1) {
		ssize_t got = read(fd, text + held, sizeof(text) - 1 - held);
		if (got <= 0) {
			die("the login was refused");
		}
		held += got;
		text[held] = '\0';
		char *answer = strstr(text, "Response: ");
		if (answer && strstr(answer, "\r\n\r\n")) {
			if (strncmp(answer, "Response: Success", 17)) {
				die("the login was refused");
			}
			return fd;
		}
	}
	die("no answer to the login");
	return -1;
}

static void listen_only(int fd)
{
	static char buffer[1 << 18];
	long long total = 0;
	ssize_t got;
	struct sigaction action = { .sa_handler = stop };
	sigaction(SIGTERM, &action, NULL);
	puts("ready");
	fflush(stdout);
	while (!stopped && (got = read(fd, buffer, sizeof(buffer))) > 0) {
		total += got;
	}
	printf("%lld\n", total);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void flood(int fd, long count, int lines)
{
	static const char mark[] = "Response: ";
	static char in[1 << 18], out[1 << 16];
	char body[8192] = "";
	size_t body_length = 0, queued = 0, sent = 0, matched = 0;
	long made = 0, answered = 0;
	for (int i = 0; i < lines && body_length < sizeof(body) - 64; i++) {
		body_length += sprintf(body + body_length, "Header%d: some value number %d\r\n", i, i);
	}
	double begin = seconds();
	while (answered < count) {
		if (sent == queued) {
			sent = queued = 0;
			while (made < count && queued + body_length + 80 < sizeof(out)) {
				queued += sprintf(out + queued, "Action: UserEvent\r\nUserEvent: Flood\r\nNumber: %ld\r\n%s\r\n",
					made++, body);
			}
		}
		struct pollfd poller = { .fd = fd, .events = POLLIN | (sent < queued ? POLLOUT : 0) };
		poll(&poller, 1, -1);
		if (poller.revents & POLLOUT) {
			ssize_t wrote = send(fd, out + sent, queued - sent, MSG_DONTWAIT);
			sent += wrote > 0 ? wrote : 0;
		}
		if (poller.revents & (POLLIN | POLLHUP)) {
			ssize_t got = recv(fd, in, sizeof(in), MSG_DONTWAIT);
			if (!got) {
				die("Asterisk closed the connection");
			}
			for (ssize_t i = 0; i < got; i++) {
				matched = in[i] == mark[matched] ? matched + 1 : in[i] == mark[0];
				if (!mark[matched]) {
					answered++;
					matched = 0;
				}
			}
		}
	}
	printf("%.6f\n", seconds() - begin);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 5 && !strcmp(argv[1], "listen")) {
		listen_only(log_in(argv, "on"));
	} else if (argc == 7 && !strcmp(argv[1], "flood")) {
		flood(log_in(argv, "off"), atol(argv[5]), atoi(argv[6]));
	} else {
		die("usage: listen PORT USER SECRET | flood PORT USER SECRET COUNT LINES");
	}
	return 0;
}
