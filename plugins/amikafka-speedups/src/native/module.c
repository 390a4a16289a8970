#include "native.h"

PyObject *raw_of_only(PyObject *const *arguments, size_t flags, PyObject *names, const char *what)
{
	static PyObject *raw;
	if (PyVectorcall_NARGS(flags) != 1 || (names && PyTuple_GET_SIZE(names))) {
		return PyErr_Format(PyExc_TypeError, "%s takes one event", what);
	}
	if (!raw && !(raw = PyUnicode_InternFromString("raw"))) {
		return NULL;
	}
	return PyObject_GetAttr(arguments[0], raw);
}

int add_type(PyObject *module, PyType_Spec *spec)
{
	PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
	int failed = !type || PyModule_AddType(module, (PyTypeObject *) type);
	Py_XDECREF(type);
	return failed ? -1 : 0;
}

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "amikafka_speedups._native",
	.m_doc = "Events, their envelope, the format json and the event filters of amikafka, in C.",
	.m_size = -1,
};

PyMODINIT_FUNC PyInit__native(void)
{
	PyObject *module = PyModule_Create(&definition);
	if (module
		&& (add_json_renderer(module) || add_envelope(module) || add_event_filter(module) || add_events(module))) {
		Py_CLEAR(module);
	}
	return module;
}
