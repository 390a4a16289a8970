/* What an Asterisk's legacy eventfilters cost an event: glibc's regexec over the whole of it, one by one, until
 * one matches (main/manager.c: should_send_event, filter_cmp_fn, match_eventdata), in the locale that Asterisk sets.
 *
 *     filters EVENTS ROUNDS PATTERN...
 *
 * EVENTS is a file of events, each with the empty line at its end. Every PATTERN excludes. Prints for each round
 * the nanoseconds of CPU per event, then how many events passed.
 */
#include <locale.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void die(const char *what)
{
	fprintf(stderr, "filters: %s\n", what);
	exit(1);
}

static double cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		die("usage: filters EVENTS ROUNDS PATTERN...");
	}
	if (!setlocale(LC_ALL, "C.UTF-8")) {
		die("no locale C.UTF-8");
	}
	int patterns = argc - 3, rounds = atoi(argv[2]);
	regex_t *filters = calloc(patterns, sizeof(*filters));
	for (int i = 0; i < patterns; i++) {
		if (regcomp(&filters[i], argv[3 + i], REG_EXTENDED | REG_NOSUB)) {
			die(argv[3 + i]);
		}
	}

	FILE *file = fopen(argv[1], "rb");
	if (!file) {
		die(argv[1]);
	}
	fseek(file, 0, SEEK_END);
	size_t size = ftell(file);
	rewind(file);
	char *text = calloc(1, size + 1), **events = calloc(size / 8 + 1, sizeof(*events));
	if (fread(text, 1, size, file) != size) {
		die(argv[1]);
	}
	long count = 0, passed = 0;
	for (char *event = text, *end; (end = strstr(event, "\r\n\r\n")); event = end + 4) {
		events[count++] = strndup(event, end + 4 - event);
	}

	for (int round = 0; round < rounds; round++) {
		double begin = cpu_ns();
		passed = 0;
		for (long i = 0; i < count; i++) {
			int matched = 0;
			for (int j = 0; j < patterns && !matched; j++) {
				matched = !regexec(&filters[j], events[i], 0, NULL, 0);
			}
			passed += !matched;
		}
		printf("%.1f ", (cpu_ns() - begin) / count);
	}
	printf("%ld\n", passed);
	return 0;
}
