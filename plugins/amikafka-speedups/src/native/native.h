/* The functions that amikafka calls for every event, in C. Their Python twins define their behaviour:
 * amikafka_tail/intake/stream_reader.py (events.c), amikafka_tail/formats/json.py (json.c), amikafka_tail/delivery/envelope.py
 * (envelope.c) and amikafka_tail/ami/eventfilter.py (eventfilter.c).
 *
 * The objects are for one interpreter and for one thread at a time, which holds its lock. None of them has a
 * tp_clear: their references stay valid until they are deallocated, so no call finds them gone. Every cycle
 * through them also goes through a function or a dict, which can be cleared.
 */
#ifndef AMIKAFKA_NATIVE_H
#define AMIKAFKA_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdint.h>
#include <string.h>

#define CALLABLE \
	(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL)

typedef struct {
	const char *at;
	Py_ssize_t size;
} Text;

static inline Text text_of(PyObject *bytes)
{
	return (Text){PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes)};
}

static inline int same(Text text, const char *other, Py_ssize_t size)
{
	return text.size == size && !memcmp(text.at, other, (size_t) size);
}

/* These return -1 with an exception if they fail. */
int add_json_renderer(PyObject *module);
int add_envelope(PyObject *module);
int add_event_filter(PyObject *module);
int add_events(PyObject *module);
int add_type(PyObject *module, PyType_Spec *spec);

/* Return the attribute `raw` of the one argument of a call, a new reference. `what` is called. */
PyObject *raw_of_only(PyObject *const *arguments, size_t flags, PyObject *names, const char *what);

#endif
