/* The two functions that amikafka calls for every event, in C. Their twins in Python define what they do:
 * amikafka_tail/envelope.py (key, headers, timestamp) and amikafka_tail/formats/json.py (the object).
 *
 * Both give the same bytes. What is not an ordinary event (bytes that are not UTF-8, a bare CR or LF, lines that
 * claim to be somebody else's) is left to the twin: there is one definition of everything that is odd.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINES 256
#define TABLE 1024 /* a power of two, four times MAX_LINES */
#define MAX_KINDS 2048

static PyObject *str_raw, *str_captured_ms, *str_name, *str_count, *str_is_privileged;

/* --- Bytes ----------------------------------------------------------------------------------------------- */

typedef struct {
	const char *at;
	Py_ssize_t size;
} Text;

static int same(Text text, const char *other, Py_ssize_t size)
{
	return text.size == size && !memcmp(text.at, other, (size_t) size);
}

#define SAME(text, literal) same((text), (literal), (Py_ssize_t) sizeof(literal) - 1)

/* What a byte may be. */
enum { PLAIN, COLON, CR, LF, ESCAPED, HIGH };
static unsigned char kind_of[256];
static char escape_of[256];

static void make_tables(void)
{
	for (int byte = 0; byte < 256; byte++) {
		kind_of[byte] = byte < 0x20 ? ESCAPED : byte < 0x80 ? PLAIN : HIGH;
	}
	kind_of['"'] = kind_of['\\'] = ESCAPED;
	kind_of[':'] = COLON;
	kind_of['\r'] = CR;
	kind_of['\n'] = LF;
	escape_of['"'] = '"';
	escape_of['\\'] = '\\';
	escape_of['\b'] = 'b';
	escape_of['\f'] = 'f';
	escape_of['\t'] = 't';
}

/* Write text as the inside of a JSON string; return where it ends. As jansson does (dump.c). */
static char *escaped(char *to, Text text)
{
	static const char digits[] = "0123456789ABCDEF";
	for (Py_ssize_t i = 0; i < text.size; i++) {
		unsigned char byte = (unsigned char) text.at[i];
		if (kind_of[byte] != ESCAPED) {
			*to++ = (char) byte;
		} else if (escape_of[byte]) {
			*to++ = '\\';
			*to++ = escape_of[byte];
		} else {
			memcpy(to, "\\u00", 4);
			to[4] = digits[byte >> 4];
			to[5] = digits[byte & 15];
			to += 6;
		}
	}
	return to;
}

static char *copied(char *to, Text text)
{
	memcpy(to, text.at, (size_t) text.size);
	return to + text.size;
}

/* --- The format json ------------------------------------------------------------------------------------- */

typedef struct {
	Text name, value;
	int later; /* the next line of the same name, -1 if there is none */
	int last;  /* of the first line of a name: its last one */
} Member;

typedef struct {
	PyObject_HEAD
	PyObject *exact;   /* the twin: renders what is odd */
	PyObject *entity;  /* bytes, as they are */
	PyObject *system;  /* bytes, as they are, or NULL */
	char *identity;    /* both as members, ready to be copied */
	Py_ssize_t identity_size;
	int keep_all;
	char *buffer;
	size_t capacity;
	vectorcallfunc call;
} Renderer;

static Text text_of(PyObject *bytes)
{
	return (Text){PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes)};
}

/* Tell whether Asterisk itself puts such a line between Privilege and its SystemName (main/manager.c). */
static int is_own_line(Text name)
{
	return SAME(name, "Timestamp") || SAME(name, "SequenceNumber") || SAME(name, "File") || SAME(name, "Line")
		|| SAME(name, "Func");
}

static unsigned slot_of(Text name)
{
	uint32_t front = 0, back = 0;
	if (name.size >= 4) {
		memcpy(&front, name.at, 4);
		memcpy(&back, name.at + name.size - 4, 4);
	} else {
		memcpy(&front, name.at, (size_t) name.size);
	}
	uint64_t mixed = (((uint64_t) front << 32 | back) ^ (uint64_t) name.size) * 0x9E3779B97F4A7C15ull;
	return (unsigned) (mixed >> 32) & (TABLE - 1);
}

/* Cut an event into lines and their names and values. Returns how many; 0 where the twin has to look at it.
 * `special` says whether anything has to be escaped, `high` whether anything is not ASCII.
 */
static int split(const char *raw, Py_ssize_t size, Member *members, int *special, int *high)
{
	const char *end = raw + size, *line = raw;
	int count = 0, seen = 0;

	for (;;) {
		const char *at = line, *colon = NULL, *separator = NULL;
		for (;; at++) {
			if (at == end) {
				break;
			}
			unsigned char kind = kind_of[(unsigned char) *at];
			if (kind == PLAIN) {
				continue;
			}
			if (kind == COLON) {
				if (!separator && at + 1 < end && at[1] == ' ') {
					separator = at;
				}
				if (!colon) {
					colon = at;
				}
			} else if (kind == CR) {
				break;
			} else if (kind == LF) {
				return 0;
			} else {
				seen |= 1 << kind;
			}
		}
		if (at == line || count == MAX_LINES || (at < end && (at + 1 == end || at[1] != '\n'))) {
			return 0;
		}
		Member *member = &members[count++];
		member->name.at = line;
		if (separator) {
			member->name.size = separator - line;
			member->value = (Text){separator + 2, at - separator - 2};
		} else if (colon) {
			member->name.size = colon - line;
			member->value = (Text){colon + 1, at - colon - 1};
		} else {
			member->name.size = at - line;
			member->value = (Text){at, 0};
		}
		if (at == end) {
			break;
		}
		line = at + 2;
	}
	*special = seen >> ESCAPED & 1;
	*high = seen >> HIGH & 1;
	return count;
}

/* Decide about a line of one of the four names that nobody may forge. Returns 1 to keep it, 0 to leave it out
 * because it says again what is known, -1 where the twin has to look at it.
 */
static int protected_line(Renderer *self, Member *members, Member *line, int *privilege, int *system, int own_lines)
{
	Text name = line->name, known;
	if (SAME(name, "Event")) {
		known = members[0].value;
	} else if (SAME(name, "EntityID")) {
		known = text_of(self->entity);
	} else {
		int *found = SAME(name, "Privilege") ? privilege : system;
		if (found == system && self->system) {
			known = text_of(self->system);
		} else if (*found) {
			known = members[*found].value;
		} else if (found == privilege || own_lines) {
			*found = (int) (line - members);
			return 1;
		} else {
			return -1;
		}
	}
	return same(line->value, known.at, known.size) ? 0 : -1;
}

static int is_protected(Text name)
{
	switch (name.size) {
	case 5:
		return SAME(name, "Event");
	case 8:
		return SAME(name, "EntityID");
	case 9:
		return SAME(name, "Privilege");
	case 10:
		return SAME(name, "SystemName");
	default:
		return 0;
	}
}

/* Choose the lines that become members, in their order, and link those of one name. Returns how many, -1 where
 * the twin has to look at them.
 */
static int choose(Renderer *self, Member *members, int count, int *chosen)
{
	short table[TABLE];
	int kept = 0, privilege = 0, system = 0, own_lines = 1;

	memset(table, 0xff, sizeof(table));
	for (int index = 1; index < count; index++) {
		Member *line = &members[index];
		line->later = -1;
		line->last = index;
		if (is_protected(line->name)) {
			int keep = protected_line(self, members, line, &privilege, &system, own_lines);
			if (keep < 0) {
				return -1;
			}
			if (keep) {
				chosen[kept++] = index;
			}
			continue;
		}
		own_lines = own_lines && is_own_line(line->name);
		unsigned slot = slot_of(line->name);
		while (table[slot] >= 0 && !same(line->name, members[table[slot]].name.at, members[table[slot]].name.size)) {
			slot = (slot + 1) & (TABLE - 1);
		}
		if (table[slot] < 0) {
			table[slot] = (short) index;
			chosen[kept++] = index;
		} else {
			Member *first = &members[table[slot]];
			members[first->last].later = index;
			first->last = index;
		}
	}
	return kept;
}

static char *quoted(char *to, Text text, char *(*put)(char *, Text))
{
	*to++ = '"';
	to = put(to, text);
	*to++ = '"';
	return to;
}

static int reserve(Renderer *self, size_t size)
{
	if (size > self->capacity) {
		char *buffer = realloc(self->buffer, size);
		if (!buffer) {
			return -1;
		}
		self->buffer = buffer;
		self->capacity = size;
	}
	return 0;
}

static int is_utf_8(const char *raw, Py_ssize_t size)
{
	PyObject *decoded = PyUnicode_DecodeUTF8(raw, size, "strict");
	if (!decoded) {
		PyErr_Clear();
		return 0;
	}
	Py_DECREF(decoded);
	return 1;
}

/* Returns a new reference, NULL with no exception where the twin has to do it. */
static PyObject *rendered(Renderer *self, const char *raw, Py_ssize_t size)
{
	Member members[MAX_LINES];
	int chosen[MAX_LINES], special, high;
	int count = split(raw, size, members, &special, &high);

	if (!count || size < 7 || memcmp(raw, "Event: ", 7) || (high && !is_utf_8(raw, size))) {
		return NULL;
	}
	int kept = choose(self, members, count, chosen);
	/* Each byte becomes six at most, each line has at most seven more: quotes, colon, comma, brackets. */
	if (kept < 0 || reserve(self, (size_t) (special ? 6 * size : size) + 8 * (size_t) count
			+ (size_t) self->identity_size + 32)) {
		return NULL;
	}
	char *(*put)(char *, Text) = special ? escaped : copied;
	char *to = self->buffer;
	to = copied(to, (Text){"{\"Event\":", 9});
	to = quoted(to, members[0].value, put);
	to = copied(to, (Text){self->identity, self->identity_size});
	for (int i = 0; i < kept; i++) {
		Member *first = &members[chosen[i]];
		*to++ = ',';
		to = quoted(to, first->name, put);
		*to++ = ':';
		if (!self->keep_all || first->last == chosen[i]) {
			to = quoted(to, members[first->last].value, put);
			continue;
		}
		*to++ = '[';
		for (int index = chosen[i]; index >= 0; index = members[index].later) {
			to = quoted(to, members[index].value, put);
			*to++ = ',';
		}
		to[-1] = ']';
	}
	*to++ = '}';
	return PyBytes_FromStringAndSize(self->buffer, to - self->buffer);
}

static PyObject *renderer_call(PyObject *object, PyObject *const *arguments, size_t flags, PyObject *names)
{
	Renderer *self = (Renderer *) object;
	if (PyVectorcall_NARGS(flags) != 1 || (names && PyTuple_GET_SIZE(names))) {
		PyErr_SetString(PyExc_TypeError, "a renderer takes one event");
		return NULL;
	}
	PyObject *raw = PyObject_GetAttr(arguments[0], str_raw);
	if (!raw) {
		return NULL;
	}
	PyObject *found = NULL;
	if (PyBytes_Check(raw)) {
		found = rendered(self, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw));
	}
	Py_DECREF(raw);
	if (found || PyErr_Occurred()) {
		return found;
	}
	return PyObject_CallOneArg(self->exact, arguments[0]);
}

static int renderer_clear(Renderer *self)
{
	Py_CLEAR(self->exact);
	return 0;
}

static int renderer_traverse(Renderer *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	Py_VISIT(self->exact);
	return 0;
}

static void renderer_dealloc(Renderer *self)
{
	PyTypeObject *type = Py_TYPE(self);
	PyObject_GC_UnTrack(self);
	renderer_clear(self);
	Py_CLEAR(self->entity);
	Py_CLEAR(self->system);
	free(self->identity);
	free(self->buffer);
	type->tp_free((PyObject *) self);
	Py_DECREF(type);
}

static PyObject *renderer_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
	static char *names[] = {"exact", "entity_id", "system_name", "keep_all", NULL};
	PyObject *exact, *entity, *system;
	int keep_all;
	if (!PyArg_ParseTupleAndKeywords(
			arguments, keywords, "OSSp", names, &exact, &entity, &system, &keep_all)) {
		return NULL;
	}
	Renderer *self = (Renderer *) type->tp_alloc(type, 0);
	if (!self) {
		return NULL;
	}
	self->call = renderer_call;
	self->keep_all = keep_all;
	self->exact = Py_NewRef(exact);
	self->entity = Py_NewRef(entity);
	self->system = PyBytes_GET_SIZE(system) ? Py_NewRef(system) : NULL;
	self->identity = malloc((size_t) (6 * (PyBytes_GET_SIZE(entity) + PyBytes_GET_SIZE(system))) + 64);
	if (!self->identity) {
		Py_DECREF(self);
		return PyErr_NoMemory();
	}
	char *to = copied(self->identity, (Text){",\"EntityID\":", 12});
	to = quoted(to, text_of(entity), escaped);
	if (self->system) {
		to = copied(to, (Text){",\"SystemName\":", 14});
		to = quoted(to, text_of(system), escaped);
	}
	self->identity_size = to - self->identity;
	return (PyObject *) self;
}

static PyMemberDef renderer_members[] = {
	{"__vectorcalloffset__", T_PYSSIZET, offsetof(Renderer, call), READONLY, NULL},
	{NULL},
};

static PyType_Slot renderer_slots[] = {
	{Py_tp_doc, "JsonRenderer(exact, entity_id, system_name, keep_all): event -> bytes."},
	{Py_tp_new, renderer_new},
	{Py_tp_dealloc, renderer_dealloc},
	{Py_tp_traverse, renderer_traverse},
	{Py_tp_clear, renderer_clear},
	{Py_tp_call, PyVectorcall_Call},
	{Py_tp_members, renderer_members},
	{0, NULL},
};

static PyType_Spec renderer_spec = {
	.name = "amikafka_speedups.JsonRenderer",
	.basicsize = sizeof(Renderer),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
	.slots = renderer_slots,
};

/* --- The envelope ---------------------------------------------------------------------------------------- */

/* What the events of one name and privilege share. */
typedef struct {
	PyObject_HEAD
	PyObject *kind;    /* the twin's */
	PyObject *name;
	PyObject *count;   /* a list of one number */
	PyObject *headers;
	long long second;  /* that the headers say */
	int is_privileged;
} Kind;

static void kind_dealloc(Kind *self)
{
	PyTypeObject *type = Py_TYPE(self);
	Py_CLEAR(self->kind);
	Py_CLEAR(self->name);
	Py_CLEAR(self->count);
	Py_CLEAR(self->headers);
	type->tp_free((PyObject *) self);
	Py_DECREF(type);
}

static PyType_Slot kind_slots[] = {
	{Py_tp_dealloc, kind_dealloc},
	{0, NULL},
};

static PyType_Spec kind_spec = {
	.name = "amikafka_speedups._Kind",
	.basicsize = sizeof(Kind),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = kind_slots,
};

static PyTypeObject *kind_type;

typedef struct {
	PyObject_HEAD
	PyObject *learn;       /* (event, head) -> the twin's kind */
	PyObject *headers_of;  /* (kind, second) -> headers */
	PyObject *choose_key;  /* (event, name) -> key; NULL where the name is the key */
	PyObject *kinds;       /* head -> Kind */
	vectorcallfunc call;
} Envelope;

static Kind *learned(Envelope *self, PyObject *event, PyObject *head)
{
	PyObject *twin = PyObject_CallFunctionObjArgs(self->learn, event, head, NULL);
	if (!twin) {
		return NULL;
	}
	Kind *kind = PyObject_New(Kind, kind_type);
	if (!kind) {
		Py_DECREF(twin);
		return NULL;
	}
	kind->kind = twin;
	kind->headers = NULL;
	kind->second = -1;
	kind->name = PyObject_GetAttr(twin, str_name);
	kind->count = PyObject_GetAttr(twin, str_count);
	PyObject *is_privileged = PyObject_GetAttr(twin, str_is_privileged);
	kind->is_privileged = is_privileged ? PyObject_IsTrue(is_privileged) : 0;
	Py_XDECREF(is_privileged);
	if (PyErr_Occurred() || !PyList_Check(kind->count) || PyList_GET_SIZE(kind->count) != 1) {
		if (!PyErr_Occurred()) {
			PyErr_SetString(PyExc_TypeError, "a count is a list of one number");
		}
		Py_DECREF(kind);
		return NULL;
	}
	if (PyDict_GET_SIZE(self->kinds) >= MAX_KINDS) {
		PyDict_Clear(self->kinds);
	}
	if (PyDict_SetItem(self->kinds, head, (PyObject *) kind)) {
		Py_CLEAR(kind);
	}
	return kind;
}

/* Read Asterisk's `<seconds>.<fraction>` in ms, up to CRLF or the end; -1 where it is something else. */
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

static int count_one(PyObject *count)
{
	long long known = PyLong_AsLongLong(PyList_GET_ITEM(count, 0));
	if (known == -1 && PyErr_Occurred()) {
		return -1;
	}
	PyObject *next = PyLong_FromLongLong(known + 1);
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
	if (moment == -1 && PyErr_Occurred()) {
		goto done;
	}
	long long at = moment >= 0 ? moment / 1000 : -((999 - moment) / 1000);
	if (at != kind->second || !kind->headers) {
		PyObject *headers = PyObject_CallFunction(self->headers_of, "OL", kind->kind, at);
		if (!headers) {
			goto done;
		}
		Py_XSETREF(kind->headers, headers);
		kind->second = at;
	}
	if (count_one(kind->count)) {
		goto done;
	}
	moment_ms = PyLong_FromLongLong(moment);
	key = self->choose_key ? PyObject_CallFunctionObjArgs(self->choose_key, event, kind->name, NULL)
		: Py_NewRef(kind->name);
	if (key && moment_ms) {
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
	if (PyVectorcall_NARGS(flags) != 1 || (names && PyTuple_GET_SIZE(names))) {
		PyErr_SetString(PyExc_TypeError, "an envelope takes one event");
		return NULL;
	}
	PyObject *raw = PyObject_GetAttr(arguments[0], str_raw);
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

static int envelope_clear(Envelope *self)
{
	Py_CLEAR(self->learn);
	Py_CLEAR(self->headers_of);
	Py_CLEAR(self->choose_key);
	Py_CLEAR(self->kinds);
	return 0;
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
	envelope_clear(self);
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
	{Py_tp_clear, envelope_clear},
	{Py_tp_call, PyVectorcall_Call},
	{Py_tp_members, envelope_members},
	{0, NULL},
};

static PyType_Spec envelope_spec = {
	.name = "amikafka_speedups.Envelope",
	.basicsize = sizeof(Envelope),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
	.slots = envelope_slots,
};

/* --- The module ------------------------------------------------------------------------------------------ */

static int add_type(PyObject *module, PyType_Spec *spec)
{
	PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
	int failed = !type || PyModule_AddType(module, (PyTypeObject *) type);
	Py_XDECREF(type);
	return failed ? -1 : 0;
}

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "amikafka_speedups._native",
	.m_doc = "The envelope and the format json of amikafka, in C.",
	.m_size = -1,
};

PyMODINIT_FUNC PyInit__native(void)
{
	make_tables();
	if (!(str_raw = PyUnicode_InternFromString("raw"))
		|| !(str_captured_ms = PyUnicode_InternFromString("captured_ms"))
		|| !(str_name = PyUnicode_InternFromString("name"))
		|| !(str_count = PyUnicode_InternFromString("count"))
		|| !(str_is_privileged = PyUnicode_InternFromString("is_privileged"))
		|| !(kind_type = (PyTypeObject *) PyType_FromSpec(&kind_spec))) {
		return NULL;
	}
	PyObject *module = PyModule_Create(&definition);
	if (module && (add_type(module, &renderer_spec) || add_type(module, &envelope_spec))) {
		Py_CLEAR(module);
	}
	return module;
}
