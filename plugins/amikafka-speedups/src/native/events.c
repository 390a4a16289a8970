/* The events of blocks, if all blocks are ordinary events, as most are. The twin is in
 * amikafka_tail/intake/stream_reader.py. */
#include "native.h"

static const char begin[] = "Event: ", privilege[] = "\r\nPrivilege: ", numbered[] = "\r\nSequenceNumber: ", end[] = "\r\n\r\n";

#define LENGTH(literal) ((Py_ssize_t) sizeof(literal) - 1)

/* What an event consists of, in the order of `members`. */
enum { RAW, POSITION, CAPTURED_MS, MEMBERS };
static PyObject *members[MEMBERS];

static int is_plain(PyObject *block)
{
	if (!PyBytes_Check(block)) {
		return 0;
	}
	Text text = text_of(block);
	const char *line_end = memmem(text.at, (size_t) text.size, end, 2);
	return line_end && text.at + text.size - line_end >= LENGTH(privilege)
		&& !memcmp(line_end, privilege, LENGTH(privilege)) && !memcmp(text.at, begin, LENGTH(begin))
		&& !memchr(text.at, 0, (size_t) text.size)
		&& !memmem(text.at, (size_t) text.size, numbered, LENGTH(numbered));
}

/* Make an event without its __init__, which does no more than this. */
static PyObject *event_of(PyTypeObject *type, PyObject *const *slots, PyObject *const *values)
{
	PyObject *event = type->tp_alloc(type, 0);
	for (int i = 0; event && i < MEMBERS; i++) {
		if (Py_TYPE(slots[i])->tp_descr_set(slots[i], event, values[i])) {
			Py_CLEAR(event);
		}
	}
	return event;
}

/* Allocating an event may collect garbage first, which can run code that changes the list. So its size and the next
 * block are read again each time, as in a Python loop.
 */
static PyObject *events_of(PyTypeObject *type, PyObject *const *slots, PyObject *blocks, long long position,
	PyObject *captured_ms)
{
	PyObject *events = PyList_New(0);
	for (Py_ssize_t i = 0; events && i < PyList_GET_SIZE(blocks); i++) {
		if (!is_plain(PyList_GET_ITEM(blocks, i))) {
			Py_DECREF(events);
			Py_RETURN_NONE;
		}
		PyObject *block = Py_NewRef(PyList_GET_ITEM(blocks, i)), *at = PyLong_FromLongLong(position);
		PyObject *event = at ? event_of(type, slots, (PyObject *[]){block, at, captured_ms}) : NULL;
		if (!event || PyList_Append(events, event)) {
			Py_CLEAR(events);
		}
		position += PyBytes_GET_SIZE(block) + LENGTH(end);
		Py_XDECREF(event);
		Py_XDECREF(at);
		Py_DECREF(block);
	}
	return events;
}

static PyObject *plain_events(PyObject *module, PyObject *arguments)
{
	PyTypeObject *type;
	PyObject *blocks, *captured_ms, *slots[MEMBERS] = {NULL}, *events = NULL;
	long long position;
	(void) module;
	if (!PyArg_ParseTuple(arguments, "O!O!LO", &PyType_Type, &type, &PyList_Type, &blocks, &position, &captured_ms)) {
		return NULL;
	}
	int i = 0;
	for (; i < MEMBERS && (slots[i] = PyObject_GetAttr((PyObject *) type, members[i])); i++) {
		if (!Py_IS_TYPE(slots[i], &PyMemberDescr_Type)) {
			PyErr_SetString(PyExc_TypeError, "an event keeps what it consists of in slots");
			break;
		}
	}
	if (i == MEMBERS) {
		events = events_of(type, slots, blocks, position, captured_ms);
	}
	for (i = 0; i < MEMBERS; i++) {
		Py_XDECREF(slots[i]);
	}
	return events;
}

static PyMethodDef functions[] = {
	{"plain_events", plain_events, METH_VARARGS,
		"plain_events(type, blocks, position, captured_ms): their events, None where one is something else."},
	{NULL},
};

int add_events(PyObject *module)
{
	static const char *const names[MEMBERS] = {"raw", "position", "captured_ms"};
	for (int i = 0; i < MEMBERS; i++) {
		if (!(members[i] = PyUnicode_InternFromString(names[i]))) {
			return -1;
		}
	}
	return PyModule_AddFunctions(module, functions);
}
