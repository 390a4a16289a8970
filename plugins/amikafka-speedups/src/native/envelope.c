/* The envelope: an event's key, headers and time. Its twin is amikafka_tail/delivery/envelope.py. */
#include "native.h"

#define MAX_KINDS 2048

static PyObject *one, *str_captured_ms, *str_name, *str_count, *str_is_privileged;

/* What the events of one name and privilege share. */
typedef struct {
	PyObject_HEAD
	PyObject *twin;    /* the same in Python */
	PyObject *name;
	PyObject *count;   /* a list of one number */
	PyObject *headers; /* the headers of the last second, NULL before the first */
	long long second;
	int is_privileged;
} Kind;

static int kind_traverse(Kind *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	Py_VISIT(self->twin);
	Py_VISIT(self->name);
	Py_VISIT(self->count);
	Py_VISIT(self->headers);
	return 0;
}

static void kind_dealloc(Kind *self)
{
	PyTypeObject *type = Py_TYPE(self);
	PyObject_GC_UnTrack(self);
	Py_XDECREF(self->twin);
	Py_XDECREF(self->name);
	Py_XDECREF(self->count);
	Py_XDECREF(self->headers);
	type->tp_free((PyObject *) self);
	Py_DECREF(type);
}

static PyType_Slot kind_slots[] = {
	{Py_tp_dealloc, kind_dealloc},
	{Py_tp_traverse, kind_traverse},
	{0, NULL},
};

static PyType_Spec kind_spec = {
	.name = "amikafka_speedups._Kind",
	.basicsize = sizeof(Kind),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_GC
		| Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = kind_slots,
};

static PyTypeObject *kind_type;

typedef struct {
	PyObject_HEAD
	PyObject *learn;       /* (event, head) -> the twin's kind */
	PyObject *headers_of;  /* (kind, second) -> headers */
	PyObject *choose_key;  /* (event, name) -> key; NULL if the name is the key */
	PyObject *kinds;       /* a dict: head -> Kind */
	vectorcallfunc call;
} Envelope;

static Kind *learned(Envelope *self, PyObject *event, PyObject *head)
{
	Kind *kind = (Kind *) kind_type->tp_alloc(kind_type, 0);
	PyObject *is_privileged = NULL;
	if (!kind || !(kind->twin = PyObject_CallFunctionObjArgs(self->learn, event, head, NULL))
		|| !(kind->name = PyObject_GetAttr(kind->twin, str_name))
		|| !(kind->count = PyObject_GetAttr(kind->twin, str_count))
		|| !(is_privileged = PyObject_GetAttr(kind->twin, str_is_privileged))) {
		goto failed;
	}
	kind->is_privileged = PyObject_IsTrue(is_privileged);
	Py_DECREF(is_privileged);
	if (kind->is_privileged < 0) {
		goto failed;
	}
	if (!PyList_Check(kind->count)) {
		PyErr_SetString(PyExc_TypeError, "a count is a list of one number");
		goto failed;
	}
	if (PyDict_GET_SIZE(self->kinds) >= MAX_KINDS) {
		PyDict_Clear(self->kinds);
	}
	if (!PyDict_SetItem(self->kinds, head, (PyObject *) kind)) {
		return kind;
	}
failed:
	Py_XDECREF(kind);
	return NULL;
}

/* Read Asterisk's `<seconds>.<fraction>` in ms, up to CRLF or the end; -1 if it is something else. */
static long long milliseconds(const char *at, const char *end)
{
	long long seconds = 0, fraction = 0;
	const char *begin = at;
	for (; at < end && *at >= '0' && *at <= '9'; at++) {
		seconds = 10 * seconds + (*at - '0');
		if (at - begin >= 12) {
			return -1;
		}
	}
	if (at == begin) {
		return -1;
	}
	int digits = 0;
	if (at < end && *at == '.') {
		for (at++; at < end && *at >= '0' && *at <= '9'; at++, digits++) {
			if (digits < 3) {
				fraction = 10 * fraction + (*at - '0');
			}
		}
	}
	for (; digits < 3; digits++) {
		fraction *= 10;
	}
	if (at != end && (at + 1 >= end || at[0] != '\r' || at[1] != '\n')) {
		return -1;
	}
	return 1000 * seconds + fraction;
}

/* Return where the line that begins at `at` ends: at its CRLF, or at `end`. */
static const char *line_end(const char *at, const char *end)
{
	while (at < end && (at = memchr(at, '\r', (size_t) (end - at)))) {
		if (at + 1 < end && at[1] == '\n') {
			return at;
		}
		at++;
	}
	return end;
}

/* count[0] += 1 */
static int count_one(PyObject *count)
{
	PyObject *known = PyList_GetItem(count, 0);
	if (!known) {
		return -1;
	}
	Py_INCREF(known);
	PyObject *next = PyNumber_Add(known, one);
	Py_DECREF(known);
	return next ? PyList_SetItem(count, 0, next) : -1;
}

static Kind *kind_for(Envelope *self, PyObject *event, const char *raw, Py_ssize_t size)
{
	PyObject *head = PyBytes_FromStringAndSize(raw, size);
	if (!head) {
		return NULL;
	}
	Kind *kind = (Kind *) PyDict_GetItemWithError(self->kinds, head);
	if (kind) {
		Py_INCREF(kind);
	} else if (!PyErr_Occurred()) {
		kind = learned(self, event, head);
	}
	Py_DECREF(head);
	return kind;
}

static long long moment_of(PyObject *event, Kind *kind, const char *at, const char *end)
{
	if (kind->is_privileged && end - at > 11 && !memcmp(at, "Timestamp: ", 11)) {
		long long moment = milliseconds(at + 11, end);
		if (moment >= 0) {
			return moment;
		}
	}
	PyObject *captured = PyObject_GetAttr(event, str_captured_ms);
	long long moment = captured ? PyLong_AsLongLong(captured) : -1;
	Py_XDECREF(captured);
	return moment;
}

static PyObject *enveloped(Envelope *self, PyObject *event, PyObject *raw)
{
	const char *begin = PyBytes_AS_STRING(raw), *end = begin + PyBytes_GET_SIZE(raw);
	const char *first = line_end(begin, end);
	const char *second = first == end ? end : line_end(first + 2, end);
	Kind *kind = kind_for(self, event, begin, second - begin);
	if (!kind) {
		return NULL;
	}
	PyObject *found = NULL, *key = NULL, *moment_ms = NULL;
	long long moment = moment_of(event, kind, second == end ? end : second + 2, end);
	if ((moment == -1 && PyErr_Occurred()) || count_one(kind->count)) {
		goto done;
	}
	long long at = moment / 1000 - (moment % 1000 < 0);
	if (at != kind->second || !kind->headers) {
		PyObject *headers = PyObject_CallFunction(self->headers_of, "OL", kind->twin, at);
		if (!headers) {
			goto done;
		}
		Py_XSETREF(kind->headers, headers);
		kind->second = at;
	}
	key = self->choose_key ? PyObject_CallFunctionObjArgs(self->choose_key, event, kind->name, NULL)
		: Py_NewRef(kind->name);
	if (key && (moment_ms = PyLong_FromLongLong(moment))) {
		found = PyTuple_Pack(3, key, kind->headers, moment_ms);
	}
done:
	Py_XDECREF(key);
	Py_XDECREF(moment_ms);
	Py_DECREF(kind);
	return found;
}

static PyObject *envelope_call(PyObject *object, PyObject *const *arguments, size_t flags, PyObject *names)
{
	PyObject *raw = raw_of_only(arguments, flags, names, "an envelope");
	if (!raw) {
		return NULL;
	}
	PyObject *found = NULL;
	if (PyBytes_Check(raw)) {
		found = enveloped((Envelope *) object, arguments[0], raw);
	} else {
		PyErr_SetString(PyExc_TypeError, "the text of an event is bytes");
	}
	Py_DECREF(raw);
	return found;
}

static int envelope_traverse(Envelope *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	Py_VISIT(self->learn);
	Py_VISIT(self->headers_of);
	Py_VISIT(self->choose_key);
	Py_VISIT(self->kinds);
	return 0;
}

static void envelope_dealloc(Envelope *self)
{
	PyTypeObject *type = Py_TYPE(self);
	PyObject_GC_UnTrack(self);
	Py_XDECREF(self->learn);
	Py_XDECREF(self->headers_of);
	Py_XDECREF(self->choose_key);
	Py_XDECREF(self->kinds);
	type->tp_free((PyObject *) self);
	Py_DECREF(type);
}

static PyObject *envelope_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
	static char *names[] = {"learn", "headers_of", "choose_key", NULL};
	PyObject *learn, *headers_of, *choose_key;
	if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OOO", names, &learn, &headers_of, &choose_key)) {
		return NULL;
	}
	Envelope *self = (Envelope *) type->tp_alloc(type, 0);
	if (!self) {
		return NULL;
	}
	self->call = envelope_call;
	self->learn = Py_NewRef(learn);
	self->headers_of = Py_NewRef(headers_of);
	self->choose_key = choose_key == Py_None ? NULL : Py_NewRef(choose_key);
	self->kinds = PyDict_New();
	if (!self->kinds) {
		Py_CLEAR(self);
	}
	return (PyObject *) self;
}

static PyMemberDef envelope_members[] = {
	{"__vectorcalloffset__", T_PYSSIZET, offsetof(Envelope, call), READONLY, NULL},
	{NULL},
};

static PyType_Slot envelope_slots[] = {
	{Py_tp_doc, "Envelope(learn, headers_of, choose_key): event -> (key, headers, milliseconds)."},
	{Py_tp_new, envelope_new},
	{Py_tp_dealloc, envelope_dealloc},
	{Py_tp_traverse, envelope_traverse},
	{Py_tp_call, PyVectorcall_Call},
	{Py_tp_members, envelope_members},
	{0, NULL},
};

static PyType_Spec envelope_spec = {
	.name = "amikafka_speedups.Envelope",
	.basicsize = sizeof(Envelope),
	.flags = CALLABLE,
	.slots = envelope_slots,
};

int add_envelope(PyObject *module)
{
	if (!(one = PyLong_FromLong(1)) || !(str_captured_ms = PyUnicode_InternFromString("captured_ms"))
		|| !(str_name = PyUnicode_InternFromString("name"))
		|| !(str_count = PyUnicode_InternFromString("count"))
		|| !(str_is_privileged = PyUnicode_InternFromString("is_privileged"))
		|| !(kind_type = (PyTypeObject *) PyType_FromSpec(&kind_spec))) {
		return -1;
	}
	return add_type(module, &envelope_spec);
}
