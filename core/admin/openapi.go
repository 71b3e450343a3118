package admin

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// object is a JSON object of the document.
type object map[string]any

const documentAbout = "Every call but /healthz needs the bearer token. Path and method are judged after it: an unknown path is answered with 404, " +
	"another method with 405 and Allow. HEAD is answered like GET. A trailing slash of the path is ignored. Query values are " +
	"percent-decoded only: + is a plus. A parameter that a call does not know, or that is given twice, is answered with 400."

// document is GET /openapi.json, written once: OpenAPI 3.1, made of the same table as the gates. Nobody changes it.
var document = sync.OnceValue(write)

func write() json.RawMessage {
	schemas := object{"Failure": schemaOf(reflect.TypeFor[failure]())}
	paths := object{healthPath: object{"get": healthOperation()}}
	for _, c := range append(slices.Clone(table), alias) {
		at, _ := paths[c.path].(object)
		if at == nil {
			at = object{}
			paths[c.path] = at
		}
		at[strings.ToLower(c.method)] = c.operation(schemas)
	}
	text, err := json.MarshalIndent(object{
		"openapi":  "3.1.0",
		"info":     object{"title": "mailsplice admin API", "version": "1", "description": documentAbout},
		"security": []object{{"bearer": []string{}}},
		"paths":    paths,
		"components": object{
			"schemas":         schemas,
			"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer"}},
		},
	}, "", "  ")
	if err != nil {
		panic("bug: a document that is not JSON: " + err.Error())
	}
	return text
}

// healthOperation is the one call outside the table.
func healthOperation() object {
	return object{"operationId": "getHealthz", "summary": "Whether the proxy takes logins. No token.", "security": []object{}, "responses": object{
		"200": response("ok", textMedia, object{"type": "string"}),
		"503": response("draining", textMedia, object{"type": "string"}),
	}}
}

// every is the statuses that each call can end in, beyond 200.
var every = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests, http.StatusInternalServerError}

// statusAbout says what a status means here.
var statusAbout = map[int]string{
	http.StatusBadRequest:            "A parameter or the body is missing or wrong; problems lists everything wrong with a body or file.",
	http.StatusUnauthorized:          "No token or a wrong one. It counts for the lockout.",
	http.StatusNotFound:              "There is no such destination.",
	http.StatusRequestEntityTooLarge: "The body is larger than the call takes.",
	http.StatusTooManyRequests:       "The address is locked out after too many wrong tokens; Retry-After says how long.",
	http.StatusInternalServerError:   "The mapping store or the call failed.",
	http.StatusNotImplemented:        "The mapping source, or this process, cannot do this. Judged before the parameters.",
	http.StatusServiceUnavailable:    "Too much of this is under way; Retry-After says when to try again.",
}

// statuses is all that the call can end in.
func (c *call) statuses() []int {
	list := append(slices.Clone(every), c.also...)
	if c.needs != nil {
		list = append(list, http.StatusNotImplemented)
	}
	return append(list, http.StatusOK)
}

func (c *call) operation(schemas object) object {
	responses := object{}
	for _, status := range c.statuses() {
		responses[strconv.Itoa(status)] = response(statusAbout[status], jsonMedia, reference("Failure"))
	}
	responses["200"] = c.success(schemas)
	o := object{"operationId": c.id(), "summary": c.about, "responses": responses}
	if params := c.parameters(); len(params) > 0 {
		o["parameters"] = params
	}
	if c.body != "" {
		o["requestBody"] = object{"required": true, "description": c.body, "content": object{tsvMedia: object{"schema": object{"type": "string"}}}}
	}
	return o
}

func (c *call) success(schemas object) object {
	switch {
	case c.answer != nil:
		t := reflect.TypeOf(c.answer)
		name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
		schemas[name] = schemaOf(t)
		return response("done", jsonMedia, reference(name))
	case c.media == jsonMedia:
		return response("done", jsonMedia, object{"type": "object"})
	}
	return response("done", c.media, object{"type": "string"})
}

// id is method and path as one word: postConnectionsKick.
func (c *call) id() string {
	id := strings.ToLower(c.method)
	for part := range strings.FieldsFuncSeq(c.path, func(r rune) bool { return strings.ContainsRune("/{}.", r) }) {
		id += strings.ToUpper(part[:1]) + part[1:]
	}
	return id
}

func (c *call) parameters() (list []object) {
	if c == alias {
		list = append(list, identifier.describe("path"))
	}
	for _, p := range c.params {
		list = append(list, p.describe("query"))
	}
	return list
}

func (p param) describe(in string) object {
	return object{"name": p.name, "in": in, "required": p.required, "description": p.about, "schema": p.schema()}
}

func (p param) schema() object {
	switch p.kind {
	case aFlag:
		return object{"type": "boolean"}
	case aNumber:
		o := object{"type": "integer", "minimum": p.lowest}
		if p.highest > 0 {
			o["maximum"] = p.highest
		}
		return o
	case anIdentifier:
		return object{"type": "string", "minLength": 1, "maxLength": maxIdentifierBytes}
	}
	return object{"type": "string", "minLength": 1}
}

func response(about, media string, schema object) object {
	return object{"description": about, "content": object{media: object{"schema": schema}}}
}

func reference(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// schemaOf describes how encoding/json writes t, as far as answers use it.
func schemaOf(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Struct:
		return structSchema(t)
	}
	panic("bug: no schema for " + t.String())
}

// structSchema reads the tags json, about and format.
func structSchema(t reflect.Type) object {
	properties, required := object{}, []string{}
	for f := range t.Fields() {
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		schema := schemaOf(f.Type)
		for key, value := range map[string]string{"description": f.Tag.Get("about"), "format": f.Tag.Get("format")} {
			if value != "" {
				schema[key] = value
			}
		}
		properties[name] = schema
		if option != "omitempty" {
			required = append(required, name)
		}
	}
	return object{"type": "object", "properties": properties, "required": required}
}
