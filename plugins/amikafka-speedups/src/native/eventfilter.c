/* The eventfilter lines: whether an event passes. Their twin is amikafka_tail/ami/eventfilter.py; both decide
 * the same. The twin handles an event with an unusual first line.
 */
#include "native.h"

#include <stdlib.h>

enum { REGEX, EXACT, STARTS_WITH, ENDS_WITH, CONTAINS, NONE, METHODS };
static const char *const methods[METHODS] = {"regex", "exact", "starts_with", "ends_with", "contains", "none"};

/* One line of the configuration, its name aside. */
typedef struct {
	PyObject *header;  /* bytes that a line begins with; none for the whole event */
	PyObject *needed;  /* bytes that every match contains: the pattern, except for REGEX */
	PyObject *compare; /* bytes -> whether they match; called only for REGEX */
	int method;
} Test;

typedef struct {
	Test *first;
	Py_ssize_t count;
	uint32_t initials; /* a bit for each initial letter of a header, in any case */
} Tests;

/* The tests for the events of one name. */
typedef struct {
	PyObject *name;
	Tests includes, excludes;
} Rule;

typedef struct {
	PyObject_HEAD
	PyObject *twin;   /* decides about unusual events */
	Rule *rules;      /* the first is for names without a rule; the others are sorted by name */
	Py_ssize_t count;
	int must_match;   /* an event must match one of the includes */
	vectorcallfunc call;
} Filter;

static int contains(Text text, Text wanted)
{
	return memmem(text.at, (size_t) text.size, wanted.at, (size_t) wanted.size) != NULL;
}

static int begins(Text text, Text with)
{
	return text.size >= with.size && same((Text){text.at, with.size}, with.at, with.size);
}

static uint32_t initial(const char *at)
{
	return (uint32_t) 1 << (*at & 31);
}

/* These return whether something matches; -1 with an exception if a comparison fails. */

static int matches(const Test *test, Text text)
{
	Text wanted = text_of(test->needed);
	switch (test->method) {
	case EXACT:
		return same(text, wanted.at, wanted.size);
	case STARTS_WITH:
		return begins(text, wanted);
	case ENDS_WITH:
		return text.size >= wanted.size
			&& same((Text){text.at + text.size - wanted.size, wanted.size}, wanted.at, wanted.size);
	case CONTAINS:
		return contains(text, wanted);
	case NONE:
		return 1;
	}
	if (!contains(text, wanted)) {
		return 0;
	}
	PyObject *bytes = PyBytes_FromStringAndSize(text.at, text.size);
	PyObject *answer = bytes ? PyObject_CallOneArg(test->compare, bytes) : NULL;
	Py_XDECREF(bytes);
	int found = answer ? PyObject_IsTrue(answer) : -1;
	Py_XDECREF(answer);
	return found;
}

static int whole_matches(const Test *test, Text raw)
{
	Text wanted = text_of(test->needed);
	char last = wanted.size ? wanted.at[wanted.size - 1] : '\n';
	/* The whole event ends with an empty line that `raw` does not have. */
	if (test->method != NONE && last != '\r' && last != '\n' && !contains(raw, wanted)) {
		return 0;
	}
	PyObject *bytes = PyBytes_FromStringAndSize(NULL, raw.size + 4);
	if (!bytes) {
		return -1;
	}
	memcpy(PyBytes_AS_STRING(bytes), raw.at, (size_t) raw.size);
	memcpy(PyBytes_AS_STRING(bytes) + raw.size, "\r\n\r\n", 4);
	int found = matches(test, text_of(bytes));
	Py_DECREF(bytes);
	return found;
}

/* Try each test of a header that the line begins with, as Asterisk does: blanks and control characters before the
 * value are skipped, and an empty value is not tested.
 */
static int line_matches(const Tests *tests, Text line)
{
	for (const Test *test = tests->first; test < tests->first + tests->count; test++) {
		Text header = text_of(test->header);
		/* Headers with the same beginning mostly have the colon elsewhere. */
		if (!header.size || line.size <= header.size || line.at[header.size - 1] != header.at[header.size - 1]
			|| !begins(line, header)) {
			continue;
		}
		Text value = {line.at + header.size, line.size - header.size};
		for (; value.size && *value.at >= 1 && *value.at <= ' '; value.at++) {
			value.size--;
		}
		int found = value.size ? matches(test, value) : 0;
		if (found) {
			return found;
		}
	}
	return 0;
}

static int any_matches(const Tests *tests, Text raw)
{
	for (const Test *test = tests->first; test < tests->first + tests->count; test++) {
		int found = PyBytes_GET_SIZE(test->header) ? 0 : whole_matches(test, raw);
		if (found) {
			return found;
		}
	}
	const char *line = raw.at, *end = raw.at + raw.size;
	while (tests->initials && line < end) {
		const char *feed = memchr(line, '\n', (size_t) (end - line));
		const char *stop = feed ? feed : end;
		const char *carriage_return = memchr(line, '\r', (size_t) (stop - line));
		if (carriage_return) {
			stop = carriage_return;
		}
		if (tests->initials & initial(line)) {
			int found = line_matches(tests, (Text){line, stop - line});
			if (found) {
				return found;
			}
		}
		line = feed && stop + 1 == feed ? feed + 1 : stop + 1;
	}
	return 0;
}

/* Return the event's name, with size -1 if the first line is unusual. */
static Text name_of(Text raw)
{
	const char *begin = raw.at + 7, *end = raw.at + raw.size, *at = begin;
	if (raw.size < 7 || memcmp(raw.at, "Event: ", 7)) {
		return (Text){NULL, -1};
	}
	while (at < end && *at != '\r' && *at != '\n') {
		at++;
	}
	return (Text){begin, end - at >= 2 && at[0] == '\r' && at[1] == '\n' ? at - begin : -1};
}

static int order(Text left, Text right)
{
	if (left.size != right.size) {
		return left.size < right.size ? -1 : 1;
	}
	return memcmp(left.at, right.at, (size_t) left.size);
}

static int order_of_rules(const void *left, const void *right)
{
	return order(text_of(((const Rule *) left)->name), text_of(((const Rule *) right)->name));
}

static int order_of_name(const void *name, const void *rule)
{
	return order(*(const Text *) name, text_of(((const Rule *) rule)->name));
}

/* Returns whether the event passes; -1 with an exception; -2 if the twin must decide. */
static int decided(Filter *self, Text raw)
{
	Text name = name_of(raw);
	if (name.size < 0) {
		return -2;
	}
	Rule *rule = bsearch(&name, self->rules + 1, (size_t) self->count - 1, sizeof(Rule), order_of_name);
	if (!rule) {
		rule = self->rules;
	}
	int included = self->must_match ? any_matches(&rule->includes, raw) : 1;
	if (included <= 0) {
		return included;
	}
	int excluded = any_matches(&rule->excludes, raw);
	return excluded < 0 ? excluded : !excluded;
}

static PyObject *filter_call(PyObject *object, PyObject *const *arguments, size_t flags, PyObject *names)
{
	Filter *self = (Filter *) object;
	PyObject *raw = raw_of_only(arguments, flags, names, "a filter");
	if (!raw) {
		return NULL;
	}
	int passes = PyBytes_Check(raw) ? decided(self, text_of(raw)) : -2;
	Py_DECREF(raw);
	if (passes == -2) {
		return PyObject_CallOneArg(self->twin, arguments[0]);
	}
	return passes < 0 ? NULL : PyBool_FromLong(passes);
}

static int tests_visit(const Tests *tests, visitproc visit, void *arg)
{
	for (Py_ssize_t i = 0; i < tests->count; i++) {
		Py_VISIT(tests->first[i].header);
		Py_VISIT(tests->first[i].needed);
		Py_VISIT(tests->first[i].compare);
	}
	return 0;
}

static int filter_traverse(Filter *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	Py_VISIT(self->twin);
	for (Py_ssize_t i = 0; i < self->count; i++) {
		int stop = tests_visit(&self->rules[i].includes, visit, arg);
		if (stop || (stop = tests_visit(&self->rules[i].excludes, visit, arg))) {
			return stop;
		}
		Py_VISIT(self->rules[i].name);
	}
	return 0;
}

static void tests_free(Tests *tests)
{
	for (Py_ssize_t i = 0; i < tests->count; i++) {
		Py_DECREF(tests->first[i].header);
		Py_DECREF(tests->first[i].needed);
		Py_DECREF(tests->first[i].compare);
	}
	PyMem_Free(tests->first);
}

static void filter_dealloc(Filter *self)
{
	PyTypeObject *type = Py_TYPE(self);
	PyObject_GC_UnTrack(self);
	for (Py_ssize_t i = 0; i < self->count; i++) {
		tests_free(&self->rules[i].includes);
		tests_free(&self->rules[i].excludes);
		Py_DECREF(self->rules[i].name);
	}
	PyMem_Free(self->rules);
	Py_XDECREF(self->twin);
	type->tp_free((PyObject *) self);
	Py_DECREF(type);
}

/* These return -1 with an exception for invalid arguments. */

static int is_tuple(PyObject *given)
{
	if (!PyTuple_Check(given)) {
		PyErr_SetString(PyExc_TypeError, "rules and tests are tuples");
		return 0;
	}
	return 1;
}

static int read_test(Test *test, PyObject *given)
{
	const char *method;
	if (!is_tuple(given) || !PyArg_ParseTuple(given, "SsSO", &test->header, &method, &test->needed, &test->compare)) {
		return -1;
	}
	while (test->method < METHODS && strcmp(methods[test->method], method)) {
		test->method++;
	}
	if (test->method == METHODS) {
		PyErr_Format(PyExc_ValueError, "there is no method %s", method);
		return -1;
	}
	Py_INCREF(test->header);
	Py_INCREF(test->needed);
	Py_INCREF(test->compare);
	return 0;
}

static int read_tests(Tests *tests, PyObject *given)
{
	Py_ssize_t count = PyTuple_GET_SIZE(given);
	if (!(tests->first = PyMem_Calloc((size_t) count, sizeof(Test)))) {
		PyErr_NoMemory();
		return -1;
	}
	for (; tests->count < count; tests->count++) {
		Test *test = &tests->first[tests->count];
		if (read_test(test, PyTuple_GET_ITEM(given, tests->count))) {
			return -1;
		}
		if (PyBytes_GET_SIZE(test->header)) {
			tests->initials |= initial(PyBytes_AS_STRING(test->header));
		}
	}
	return 0;
}

static int read_rules(Filter *self, PyObject *given)
{
	Py_ssize_t count = PyTuple_GET_SIZE(given);
	if (!count) {
		PyErr_SetString(PyExc_ValueError, "the first rule is missing");
		return -1;
	}
	if (!(self->rules = PyMem_Calloc((size_t) count, sizeof(Rule)))) {
		PyErr_NoMemory();
		return -1;
	}
	while (self->count < count) {
		PyObject *each = PyTuple_GET_ITEM(given, self->count), *name, *includes, *excludes;
		if (!is_tuple(each)
			|| !PyArg_ParseTuple(each, "SO!O!", &name, &PyTuple_Type, &includes, &PyTuple_Type, &excludes)) {
			return -1;
		}
		Rule *rule = &self->rules[self->count++];
		rule->name = Py_NewRef(name);
		if (read_tests(&rule->includes, includes) || read_tests(&rule->excludes, excludes)) {
			return -1;
		}
	}
	qsort(self->rules + 1, (size_t) count - 1, sizeof(Rule), order_of_rules);
	return 0;
}

static PyObject *filter_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
	static char *names[] = {"twin", "must_match", "rules", NULL};
	PyObject *twin, *rules;
	int must_match;
	if (!PyArg_ParseTupleAndKeywords(
			arguments, keywords, "OpO!", names, &twin, &must_match, &PyTuple_Type, &rules)) {
		return NULL;
	}
	Filter *self = (Filter *) type->tp_alloc(type, 0);
	if (!self) {
		return NULL;
	}
	self->call = filter_call;
	self->twin = Py_NewRef(twin);
	self->must_match = must_match;
	if (read_rules(self, rules)) {
		Py_CLEAR(self);
	}
	return (PyObject *) self;
}

static PyMemberDef filter_members[] = {
	{"__vectorcalloffset__", T_PYSSIZET, offsetof(Filter, call), READONLY, NULL},
	{NULL},
};

static PyType_Slot filter_slots[] = {
	{Py_tp_doc, "EventFilter(twin, must_match, rules): event -> whether it passes."},
	{Py_tp_new, filter_new},
	{Py_tp_dealloc, filter_dealloc},
	{Py_tp_traverse, filter_traverse},
	{Py_tp_call, PyVectorcall_Call},
	{Py_tp_members, filter_members},
	{0, NULL},
};

static PyType_Spec filter_spec = {
	.name = "amikafka_speedups.EventFilter",
	.basicsize = sizeof(Filter),
	.flags = CALLABLE,
	.slots = filter_slots,
};

int add_event_filter(PyObject *module)
{
	return add_type(module, &filter_spec);
}
