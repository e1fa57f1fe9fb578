package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	discovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// published is what the data files of k8s.io/kubernetes say.
type published struct {
	folder      string
	definitions map[string]definition
	// By group, version and resource: the key below /registry/.
	storage map[schema.GroupVersionResource]string
}

// definition is the part of an OpenAPI v3 schema that becomes facts.
type definition struct {
	Ref        string                `json:"$ref"`
	AllOf      []definition          `json:"allOf"`
	Default    json.RawMessage       `json:"default"`
	Required   []string              `json:"required"`
	Properties map[string]definition `json:"properties"`
	ListType   string                `json:"x-kubernetes-list-type"`
	ListKeys   []string              `json:"x-kubernetes-list-map-keys"`
	MapType    string                `json:"x-kubernetes-map-type"`
}

// resource is a resource as discovery has it, and where it is stored.
type resource struct {
	discovery.APIResourceDiscovery
	gvk            schema.GroupVersionKind
	storage        string
	storageVersion schema.GroupVersionKind
	storageHash    string
}

// Only such versions are served by default.
var stable = regexp.MustCompile(`^v[0-9]+$`)

func readPublished(folder string) (*published, error) {
	it := &published{folder: folder, definitions: map[string]definition{}}
	paths, err := filepath.Glob(filepath.Join(folder, "api/openapi-spec/v3/*_openapi.json"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		var document struct {
			Components struct{ Schemas map[string]definition }
		}
		if err := readJSON(path, &document); err != nil {
			return nil, err
		}
		for name, schema := range document.Components.Schemas {
			it.definitions[name] = schema
		}
	}
	it.storage, err = storageKeys(filepath.Join(folder, "test/integration/etcd/data.go"))
	return it, err
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// resources lists what is served by default, in discovery's order.
func (it *published) resources() ([]resource, error) {
	// The published aggregated document lists the groups; the core group has
	// only its legacy document, so that is used for every version.
	var groups discovery.APIGroupDiscoveryList
	if err := readJSON(filepath.Join(it.folder, "api/discovery/aggregated_v2.json"), &groups); err != nil {
		return nil, err
	}
	var list []resource
	core := discovery.APIGroupDiscovery{Versions: []discovery.APIVersionDiscovery{{Version: "v1"}}}
	for _, group := range append([]discovery.APIGroupDiscovery{core}, groups.Items...) {
		versions := []string{}
		for _, version := range group.Versions {
			versions = append(versions, version.Version)
		}
		for _, version := range versions {
			if !stable.MatchString(version) {
				continue
			}
			own, err := it.version(schema.GroupVersion{Group: group.Name, Version: version}, versions)
			if err != nil {
				return nil, err
			}
			list = append(list, own...)
		}
	}
	return list, nil
}

// version reads the resources of one version from its legacy document.
func (it *published) version(gv schema.GroupVersion, versions []string) ([]resource, error) {
	name := "apis__" + gv.Group + "__" + gv.Version + ".json"
	if gv.Group == "" {
		name = "api__" + gv.Version + ".json"
	}
	var document metav1.APIResourceList
	if err := readJSON(filepath.Join(it.folder, "api/discovery", name), &document); err != nil {
		return nil, err
	}
	var list []resource
	at := map[string]int{}
	for _, entry := range document.APIResources {
		kind := schema.GroupVersionKind{Group: entry.Group, Version: entry.Version, Kind: entry.Kind}
		if entry.Version == "" {
			kind = gv.WithKind(entry.Kind)
		}
		if parent, sub, found := strings.Cut(entry.Name, "/"); found {
			response := metav1.GroupVersionKind(kind)
			subs := &list[at[parent]].Subresources
			*subs = append(*subs, discovery.APISubresourceDiscovery{Subresource: sub, ResponseKind: &response, Verbs: entry.Verbs})
			continue
		}
		at[entry.Name] = len(list)
		row := resource{gvk: kind, storageVersion: kind}
		row.Resource, row.SingularResource, row.Verbs = entry.Name, entry.SingularName, entry.Verbs
		row.ShortNames, row.Categories, row.Scope = entry.ShortNames, entry.Categories, discovery.ScopeCluster
		if entry.Namespaced {
			row.Scope = discovery.ScopeNamespace
		}
		if entry.StorageVersionHash != "" {
			var err error
			row.storageHash = entry.StorageVersionHash
			row.storageVersion, err = storageVersion(entry.StorageVersionHash, kind, versions)
			if err != nil {
				return nil, err
			}
			row.storage = it.key(gv.WithResource(entry.Name))
			if row.storage == "" {
				return nil, fmt.Errorf("no storage key for %v", kind)
			}
		}
		list = append(list, row)
	}
	return list, nil
}

// key finds the key of a resource; a version without one of its own shares it
// with the others.
func (it *published) key(gvr schema.GroupVersionResource) string {
	if key, found := it.storage[gvr]; found {
		return key
	}
	for other, key := range it.storage {
		if other.GroupResource() == gvr.GroupResource() {
			return key
		}
	}
	return ""
}

// storageVersion finds which version has that hash. Events of both groups are
// stored as the core group's. Where upstream stores a version that it does not
// serve by default, the served one stands in for it.
func storageVersion(hash string, kind schema.GroupVersionKind, versions []string) (schema.GroupVersionKind, error) {
	candidates := []schema.GroupVersionKind{kind, {Version: "v1", Kind: kind.Kind}}
	// Upstream still stores CRDs as a version that nobody can ask for.
	for _, version := range append([]string{"v1beta1"}, versions...) {
		candidates = append(candidates, schema.GroupVersionKind{Group: kind.Group, Version: version, Kind: kind.Kind})
	}
	for _, candidate := range candidates {
		sum := sha256.Sum256([]byte(candidate.Group + "/" + candidate.Version + "/" + candidate.Kind))
		if base64.StdEncoding.EncodeToString(sum[:8]) != hash {
			continue
		}
		if !stable.MatchString(candidate.Version) {
			return kind, nil
		}
		return candidate, nil
	}
	return kind, fmt.Errorf("%v: no version has the storage hash %s", kind, hash)
}

// storageKeys reads the keys from upstream's storage test: entries such as
//
//	gvr("", "v1", "nodes"): {ExpectedEtcdPath: "/registry/minions/node1"}
func storageKeys(path string) (map[schema.GroupVersionResource]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return nil, err
	}
	keys := map[schema.GroupVersionResource]string{}
	ast.Inspect(file, func(node ast.Node) bool {
		entry, ok := node.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		call, ok := entry.Key.(*ast.CallExpr)
		if !ok || len(call.Args) != 3 {
			return true
		}
		value, ok := entry.Value.(*ast.CompositeLit)
		if !ok {
			return true
		}
		gvr := schema.GroupVersionResource{Group: literal(call.Args[0]), Version: literal(call.Args[1]), Resource: literal(call.Args[2])}
		for _, element := range value.Elts {
			if field, ok := element.(*ast.KeyValueExpr); ok && field.Key.(*ast.Ident).Name == "ExpectedEtcdPath" {
				// "/registry/services/specs/" + namespace + "/name", or "/registry/minions/name"
				prefix := strings.TrimPrefix(first(field.Value), "/registry/")
				keys[gvr] = prefix[:strings.LastIndex(prefix, "/")]
			}
		}
		return true
	})
	return keys, nil
}

func literal(node ast.Expr) string {
	text, err := strconv.Unquote(node.(*ast.BasicLit).Value)
	if err != nil {
		panic(err)
	}
	return text
}

// first gives the leftmost literal of a sum.
func first(node ast.Expr) string {
	if sum, ok := node.(*ast.BinaryExpr); ok {
		return first(sum.X)
	}
	return literal(node)
}
