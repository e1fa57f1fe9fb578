// Writes the tables under api/src/facts from what upstream publishes: the Go
// types of k8s.io/api and its siblings, and the OpenAPI, discovery and storage
// data in the k8s.io/kubernetes module.
//
//	facts-tool -out DIR [-kubernetes VERSION]
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	out := flag.String("out", "", "the folder to write to")
	version := flag.String("kubernetes", "v1.37.2", "the version of k8s.io/kubernetes")
	flag.Parse()
	if err := run(*out, *version); err != nil {
		fmt.Fprintln(os.Stderr, "facts-tool:", err)
		os.Exit(1)
	}
}

func run(out, version string) error {
	if out == "" {
		return fmt.Errorf("-out is missing")
	}
	source, err := download("k8s.io/kubernetes@" + version)
	if err != nil {
		return err
	}
	published, err := readPublished(source)
	if err != nil {
		return err
	}
	resources, err := published.resources()
	if err != nil {
		return err
	}
	model := newModel(published.definitions)
	files, err := model.files(resources)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(out, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%d resources, %d structs\n", len(resources), len(model.structs))
	return nil
}

// download gives the folder of a module. k8s.io/kubernetes cannot be a
// dependency of ours: it replaces its staging modules with folders that a
// download does not have. Its data files are all that is wanted.
func download(module string) (string, error) {
	text, err := exec.Command("go", "mod", "download", "-json", module).Output()
	if err != nil {
		return "", fmt.Errorf("downloading %s: %w", module, err)
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(text, &answer); err != nil {
		return "", err
	}
	return answer.Dir, nil
}
