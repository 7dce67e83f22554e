package iatp

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

// manifestSchema returns the published schema, ready to validate.
func manifestSchema(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	data, err := os.ReadFile("spec/schema/capability_manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

func validate(schema *jsonschema.Resolved, doc []byte) error {
	var data any
	if err := json.Unmarshal(doc, &data); err != nil {
		return err
	}
	return schema.Validate(data)
}

// The schema and the parser accept the same documents, but for the rules about
// the text of a document that a schema has no words for.
func TestSchemaAgreesWithParser(t *testing.T) {
	schema := manifestSchema(t)
	for name, doc := range goodManifests {
		if err := validate(schema, []byte(doc)); err != nil {
			t.Errorf("%s: the parser accepts it, the schema says %v", name, err)
		}
	}
	for _, c := range badManifests {
		if err := validate(schema, []byte(c.doc)); err == nil && !c.inText {
			t.Errorf("%s: the parser refuses it (%s), the schema accepts it", c.name, c.want)
		}
	}
}

// Every manifest that the project ships is valid by schema and parser.
func TestShippedManifests(t *testing.T) {
	schema := manifestSchema(t)
	files, err := filepath.Glob("examples/manifests/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "spec/vectors/manifest.json") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(schema, data); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if _, err := ParseManifest(data); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
