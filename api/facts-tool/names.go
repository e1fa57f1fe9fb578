package main

import (
	"reflect"
	"strings"
	"unicode"
)

// modelName gives the OpenAPI name of a Go type:
// k8s.io/api/core/v1.Pod is io.k8s.api.core.v1.Pod.
func modelName(t reflect.Type) string {
	path := strings.Split(t.PkgPath(), "/")
	host := strings.Split(path[0], ".")
	for i, j := 0, len(host)-1; i < j; i, j = i+1, j-1 {
		host[i], host[j] = host[j], host[i]
	}
	return strings.Join(append(host, path[1:]...), ".") + "." + t.Name()
}

// module gives the Rust module of a Go type's package: core_v1.
func module(t reflect.Type) string {
	path := strings.Split(t.PkgPath(), "/")
	return path[len(path)-2] + "_" + path[len(path)-1]
}

// screaming turns HTTPGetAction into HTTP_GET_ACTION.
func screaming(name string) string {
	runes := []rune(name)
	var out strings.Builder
	for i, r := range runes {
		starts := unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if starts {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToUpper(r))
	}
	return out.String()
}
