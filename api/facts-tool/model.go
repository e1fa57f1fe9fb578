package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// model gathers the structs that the resources reach.
type model struct {
	definitions map[string]definition
	structs     map[string]*structure
	order       []*structure
	lists       map[string]*shared
	maps        map[string]*shared
}

// structure is a Go struct. One Go type has two of them where a field
// overrides its map type.
type structure struct {
	module, static, name string
	atomic               bool
	fields               []field
}

type field struct {
	name, shape       string
	omit              string
	pointer, required bool
	fallback          string
	merge, retain     bool
	replace           bool
	key               string
	number            int
	within            []int
}

// shared is a list or map type: its static, and the text of its value.
type shared struct{ module, static, text string }

func newModel(definitions map[string]definition) *model {
	return &model{definitions, map[string]*structure{}, nil, map[string]*shared{}, map[string]*shared{}}
}

// The types that marshal themselves.
var special = map[reflect.Type]string{
	reflect.TypeFor[metav1.Time]():                                "Shape::Time",
	reflect.TypeFor[metav1.MicroTime]():                           "Shape::MicroTime",
	reflect.TypeFor[metav1.Duration]():                            "Shape::Duration",
	reflect.TypeFor[metav1.FieldsV1]():                            "Shape::FieldsV1",
	reflect.TypeFor[quantity.Quantity]():                          "Shape::Quantity",
	reflect.TypeFor[intstr.IntOrString]():                         "Shape::IntOrString",
	reflect.TypeFor[runtime.RawExtension]():                       "Shape::Any",
	reflect.TypeFor[apiextensions.JSON]():                         "Shape::Any",
	reflect.TypeFor[apiextensions.JSONSchemaPropsOrArray]():       "Shape::Any",
	reflect.TypeFor[apiextensions.JSONSchemaPropsOrBool]():        "Shape::Any",
	reflect.TypeFor[apiextensions.JSONSchemaPropsOrStringArray](): "Shape::Any",
	reflect.TypeFor[[]byte]():                                     "Shape::Bytes",
}

var scalars = map[reflect.Kind]string{
	reflect.String:  "Shape::String",
	reflect.Bool:    "Shape::Bool",
	reflect.Int32:   "Shape::Int32",
	reflect.Int64:   "Shape::Int64",
	reflect.Float64: "Shape::Float64",
}

var marshaler = reflect.TypeFor[json.Marshaler]()

// structure gives the table of a Go struct, made on first use.
func (m *model) structure(t reflect.Type, mapType string) *structure {
	id := modelName(t) + mapType
	if known := m.structs[id]; known != nil {
		return known
	}
	if t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
		panic(fmt.Sprintf("%v marshals itself", t))
	}
	own := m.definitions[modelName(t)]
	it := &structure{module: module(t), static: screaming(t.Name()), name: modelName(t), atomic: own.MapType == "atomic"}
	if mapType == "granular" && it.atomic {
		it.static, it.atomic = it.static+"_GRANULAR", false
	}
	m.structs[id] = it // before its fields: types hold themselves
	it.fields = m.fields(t, own)
	m.order = append(m.order, it)
	return it
}

// fields lists the fields of a struct as JSON has them.
func (m *model) fields(t reflect.Type, own definition) []field {
	var list []field
	for i := range t.NumField() {
		member := t.Field(i)
		tag := strings.Split(member.Tag.Get("json"), ",")
		if !member.IsExported() || tag[0] == "-" {
			continue
		}
		number := protobufNumber(member)
		if tag[0] == "" && member.Anonymous {
			for _, inner := range m.fields(member.Type, own) {
				if number == 0 { // TypeMeta: protobuf has it in the envelope
					inner.number = 0
				} else {
					inner.within = append([]int{number}, inner.within...)
				}
				list = append(list, inner)
			}
			continue
		}
		it := field{name: tag[0], number: number, omit: "NEVER"}
		if slices.Contains(tag, "omitzero") {
			it.omit = "ZERO"
		} else if slices.Contains(tag, "omitempty") {
			it.omit = "EMPTY"
		}
		property, found := own.Properties[it.name]
		if !found && len(own.Properties) > 0 {
			panic(fmt.Sprintf("%v.%s is not in the OpenAPI", t, it.name))
		}
		it.pointer = member.Type.Kind() == reflect.Pointer
		it.required = slices.Contains(own.Required, it.name)
		it.fallback = string(property.Default)
		strategy := strings.Split(member.Tag.Get("patchStrategy"), ",")
		it.merge, it.retain = slices.Contains(strategy, "merge"), slices.Contains(strategy, "retainKeys")
		it.replace = slices.Contains(strategy, "replace")
		it.key = member.Tag.Get("patchMergeKey")
		it.shape = m.shape(member.Type, property, module(t))
		if t := member.Type; t.Kind() == reflect.Slice && t.Name() != "" {
			if _, message := reflect.PointerTo(t).MethodByName("Marshal"); message { // metav1.Verbs: a message of its own
				it.within, it.number = []int{number}, 1
			}
		}
		list = append(list, it)
	}
	return list
}

// shape gives the Rust expression of a Go type's shape.
func (m *model) shape(t reflect.Type, property definition, from string) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if shape := special[t]; shape != "" {
		return shape
	}
	if shape := scalars[t.Kind()]; shape != "" {
		return shape
	}
	switch t.Kind() {
	case reflect.Interface:
		return "Shape::Any"
	case reflect.Struct:
		it := m.structure(t, property.MapType)
		return "of(&" + path(from, it.module, it.static) + ")"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "Shape::Bytes"
		}
		return m.list(t.Elem(), property, from)
	case reflect.Map:
		return m.mapping(t.Elem(), property, from)
	}
	panic(fmt.Sprintf("%v has no shape", t))
}

func (m *model) list(element reflect.Type, property definition, from string) string {
	at, name := m.home(element)
	kind, prefix := "atomic", "LIST"
	switch property.ListType {
	case "set":
		kind, prefix = "set", "SET"
	case "map":
		kind = "by"
		for _, key := range property.ListKeys {
			name += "_BY_" + screaming(key)
		}
	}
	shape := m.shape(element, definition{}, at)
	text := fmt.Sprintf("%s(%s)", kind, shape)
	if kind == "by" {
		quoted := []string{}
		for _, key := range property.ListKeys {
			quoted = append(quoted, "Cow::Borrowed("+strconv.Quote(key)+")")
		}
		text = fmt.Sprintf("List { element: %s, kind: ListKind::Map(Cow::Borrowed(&[%s])) }", shape, strings.Join(quoted, ", "))
	}
	it := remember(m.lists, at, prefix+"_OF_"+name, text)
	return "list(&" + path(from, it.module, it.static) + ")"
}

func (m *model) mapping(value reflect.Type, property definition, from string) string {
	at, name := m.home(value)
	kind, prefix := "granular", "MAP"
	if property.MapType == "atomic" {
		kind, prefix = "whole", "ATOMIC_MAP"
	}
	text := fmt.Sprintf("%s(%s)", kind, m.shape(value, definition{}, at))
	it := remember(m.maps, at, prefix+"_OF_"+name, text)
	return "map(&" + path(from, it.module, it.static) + ")"
}

func remember(all map[string]*shared, module, static, text string) *shared {
	id := module + "::" + static
	if known := all[id]; known != nil {
		if known.text != text {
			panic(id + " is two things")
		}
		return known
	}
	all[id] = &shared{module, static, text}
	return all[id]
}

// home says in which module the lists and maps of an element stand, and what
// they call it. Those of scalars are shared by all.
func (m *model) home(t reflect.Type) (string, string) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if shape := special[t]; shape != "" {
		return "scalars", screaming(strings.TrimPrefix(shape, "Shape::"))
	}
	if shape := scalars[t.Kind()]; shape != "" {
		return "scalars", screaming(strings.TrimPrefix(shape, "Shape::"))
	}
	if t.Kind() == reflect.Struct {
		return module(t), screaming(t.Name())
	}
	if t.Kind() == reflect.Slice {
		at, name := m.home(t.Elem())
		return at, "LIST_OF_" + name
	}
	panic(fmt.Sprintf("%v in a list or map", t))
}

func path(from, module, static string) string {
	if from == module {
		return static
	}
	return module + "::" + static
}

func protobufNumber(member reflect.StructField) int {
	parts := strings.Split(member.Tag.Get("protobuf"), ",")
	if len(parts) < 2 {
		return 0
	}
	number, err := strconv.Atoi(parts[1])
	if err != nil {
		panic(err)
	}
	return number
}
