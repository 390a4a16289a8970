/* The format json. Its twin is amikafka_tail/formats/json.py; both give the same bytes.
 *
 * The twin handles unusual events (bytes that are not UTF-8, a bare CR or LF, forged lines, very many bytes or
 * lines), so that each rule about them is defined only once.
 */
#include "native.h"

#define MAX_SIZE 65536
#define MAX_LINES 256
#define TABLE 1024 /* a power of two, four times MAX_LINES */

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

typedef struct {
	Text name, value;
	int later; /* the next line of the same name, -1 if there is none */
	int last;  /* for the first line of a name: the last line of that name */
} Member;

typedef struct {
	PyObject_HEAD
	PyObject *exact;     /* the twin: renders unusual events */
	PyObject *entity;    /* bytes, as they are */
	PyObject *system;    /* bytes, as they are; empty if Asterisk has no name */
	PyObject *identity;  /* bytes: both as members of the object, written as by the twin */
	int keep_all;
	char *buffer;        /* large enough for every event that is rendered here */
	vectorcallfunc call;
} Renderer;

/* Return whether Asterisk itself puts such a line between Privilege and its SystemName (main/manager.c). */
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

/* Split an event into lines, and these into names and values. Returns how many; 0 if the twin must handle it.
 * `special` says whether anything has to be escaped, `high` whether anything is not ASCII.
 */
static int split(const char *raw, Py_ssize_t size, Member *members, int *special, int *high)
{
	const char *end = raw + size, *line = raw;
	int count = 0, seen = 0;

	for (;;) {
		const char *at = line, *colon = NULL, *separator = NULL;
		for (; at < end; at++) {
			unsigned char kind = kind_of[(unsigned char) *at];
			if (kind == PLAIN) {
				continue;
			}
			if (kind == CR) {
				break;
			}
			if (kind == COLON) {
				if (!separator && at + 1 < end && at[1] == ' ') {
					separator = at;
				}
				if (!colon) {
					colon = at;
				}
			}
			seen |= 1 << kind;
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
	return seen >> LF & 1 ? 0 : count;
}

/* Decide about a line with one of the four protected names. Returns 1 to keep it; 0 to leave it out because it
 * repeats a known value; -1 if the twin must handle it.
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
		if (found == system && PyBytes_GET_SIZE(self->system)) {
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

/* Choose the lines that become members, in order, and link those of one name. Returns how many; -1 if the twin
 * must handle them.
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

/* Each byte of an event becomes six at most, and each of its lines has at most eight more: a comma, quotes, a
 * colon, brackets.
 */
static size_t most_bytes(Py_ssize_t identity)
{
	return 6 * (size_t) MAX_SIZE + 8 * (size_t) MAX_LINES + (size_t) identity + sizeof("{\"Event\":\"\",}");
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

/* Returns a new reference; NULL without an exception if the twin must do it. */
static PyObject *rendered(Renderer *self, const char *raw, Py_ssize_t size)
{
	if (size < 7 || size > MAX_SIZE || memcmp(raw, "Event: ", 7)) {
		return NULL;
	}
	Member members[MAX_LINES];
	int chosen[MAX_LINES], special, high;
	int count = split(raw, size, members, &special, &high);
	if (!count || (high && !is_utf_8(raw, size))) {
		return NULL;
	}
	int kept = choose(self, members, count, chosen);
	if (kept < 0) {
		return NULL;
	}
	char *(*put)(char *, Text) = special ? escaped : copied;
	char *to = self->buffer;
	to = copied(to, (Text){"{\"Event\":", 9});
	to = quoted(to, members[0].value, put);
	*to++ = ',';
	to = copied(to, text_of(self->identity));
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
	PyObject *raw = raw_of_only(arguments, flags, names, "a renderer");
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

static int renderer_traverse(Renderer *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	Py_VISIT(self->exact);
	Py_VISIT(self->entity);
	Py_VISIT(self->system);
	Py_VISIT(self->identity);
	return 0;
}

static void renderer_dealloc(Renderer *self)
{
	PyTypeObject *type = Py_TYPE(self);
	PyObject_GC_UnTrack(self);
	Py_XDECREF(self->exact);
	Py_XDECREF(self->entity);
	Py_XDECREF(self->system);
	Py_XDECREF(self->identity);
	PyMem_Free(self->buffer);
	type->tp_free((PyObject *) self);
	Py_DECREF(type);
}

static PyObject *renderer_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
	static char *names[] = {"exact", "entity_id", "system_name", "identity", "keep_all", NULL};
	PyObject *exact, *entity, *system, *identity;
	int keep_all;
	if (!PyArg_ParseTupleAndKeywords(
			arguments, keywords, "OSSSp", names, &exact, &entity, &system, &identity, &keep_all)) {
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
	self->system = Py_NewRef(system);
	self->identity = Py_NewRef(identity);
	self->buffer = PyMem_Malloc(most_bytes(PyBytes_GET_SIZE(identity)));
	if (!self->buffer) {
		Py_DECREF(self);
		return PyErr_NoMemory();
	}
	return (PyObject *) self;
}

static PyMemberDef renderer_members[] = {
	{"__vectorcalloffset__", T_PYSSIZET, offsetof(Renderer, call), READONLY, NULL},
	{NULL},
};

static PyType_Slot renderer_slots[] = {
	{Py_tp_doc, "JsonRenderer(exact, entity_id, system_name, identity, keep_all): event -> bytes."},
	{Py_tp_new, renderer_new},
	{Py_tp_dealloc, renderer_dealloc},
	{Py_tp_traverse, renderer_traverse},
	{Py_tp_call, PyVectorcall_Call},
	{Py_tp_members, renderer_members},
	{0, NULL},
};

static PyType_Spec renderer_spec = {
	.name = "amikafka_speedups.JsonRenderer",
	.basicsize = sizeof(Renderer),
	.flags = CALLABLE,
	.slots = renderer_slots,
};

int add_json_renderer(PyObject *module)
{
	make_tables();
	return add_type(module, &renderer_spec);
}
