package iatp

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// A converter brings an operator's document into the published form, in place.
type converter struct {
	data    []byte
	signed  bool
	changed bool
	err     error

	compensate, check string // taken out of the document
}

func (c *converter) convert(root *value) {
	if root.kind != ijson.BeginObject {
		return // bind says what is wrong
	}
	c.flat(root)
	if v := object(root, "capabilities"); v != nil {
		c.rename(v, "sla_latency", v, "sla_latency_ms", milliseconds)
	}
	if v := object(root, "reversibility"); v != nil {
		c.rename(v, "undo_window", v, "undo_window_seconds", seconds)
	}
	if v := object(root, "privacy"); v != nil {
		c.rename(v, "retention", v, "retention_policy", keep)
		c.rename(v, "human_review", v, "human_in_loop", keep)
	}
	if v := object(root, "reversibility"); v != nil {
		c.compensate = c.private(v, "compensation_endpoint")
		c.check = c.private(v, "check_endpoint")
	}
}

// flat moves the members of the flat form to where they belong today. In it
// reversibility is a word, among the capabilities or at the top.
func (c *converter) flat(root *value) {
	c.rename(root, "privacy_contract", root, "privacy", keep)
	for _, name := range []string{"agent_id", "verification_key", "owner", "contact"} {
		c.move(root, name, root, "identity", name, keep)
	}
	c.move(root, "reversibility_level", root, "reversibility", "level", keep)
	if v := root.get("reversibility"); v != nil && v.kind == ijson.String {
		c.wrap(root, "reversibility", "level")
	}
	if caps := object(root, "capabilities"); caps != nil {
		c.move(caps, "reversibility", root, "reversibility", "level", keep)
		c.move(caps, "undo_window", root, "reversibility", "undo_window_seconds", seconds)
		c.move(caps, "undo_window_seconds", root, "reversibility", "undo_window_seconds", keep)
		c.move(caps, "compensation_method", root, "reversibility", "compensation_method", keep)
	}
	c.move(root, "undo_window", root, "reversibility", "undo_window_seconds", seconds)
	c.move(root, "sla_latency", root, "capabilities", "sla_latency_ms", milliseconds)
	c.move(root, "idempotency", root, "capabilities", "idempotency", keep)
	c.move(root, "concurrency_limit", root, "capabilities", "concurrency_limit", keep)
	c.move(root, "retention", root, "privacy", "retention_policy", keep)
	c.move(root, "human_review", root, "privacy", "human_in_loop", keep)
	c.move(root, "training_consent", root, "privacy", "training_consent", keep)
}

// object returns the member of that name if it is an object.
func object(v *value, name string) *value {
	if child := v.get(name); child != nil && child.kind == ijson.BeginObject {
		return child
	}
	return nil
}

// wrap puts the member of that name into an object of the same name, as inner.
func (c *converter) wrap(root *value, name, inner string) {
	v := root.take(name)
	c.edit(v)
	child := &value{kind: ijson.BeginObject, at: v.at, pointer: v.pointer}
	child.set(inner, v)
	root.set(name, child)
}

// move is rename into the object member of root, which is made if it is missing.
func (c *converter) move(from *value, old string, root *value, into, name string, as conversion) {
	v := from.get(old)
	if v == nil || c.err != nil {
		return
	}
	if root.get(into) == nil {
		root.set(into, &value{kind: ijson.BeginObject, at: v.at, pointer: "/" + into})
	}
	if to := object(root, into); to != nil {
		c.rename(from, old, to, name, as)
	}
}

// rename takes the member old out of from and puts it into to under its present
// name.
func (c *converter) rename(from *value, old string, to *value, name string, as conversion) {
	v := from.get(old)
	if v == nil || c.err != nil {
		return
	}
	c.edit(v)
	converted, err := as(v)
	if err != nil {
		c.refuse(v, err.Error())
		return
	}
	from.take(old)
	present := to.get(name)
	switch {
	case present == nil:
		to.set(name, converted)
	case !same(present, converted):
		c.refuse(v, fmt.Sprintf("%s says %s, but %s, its present name, says %s; keep %s only",
			old, v.describe(), name, present.describe(), name))
	}
}

// edit notes that the document has to be changed at v.
func (c *converter) edit(v *value) {
	c.changed = true
	if c.signed {
		c.refuse(v, "this is an older form, which is not published, and changing it would break the signature; use the present one and sign again")
	}
}

func (c *converter) refuse(v *value, msg string) {
	if c.err == nil {
		c.err = faultAt(c.data, v, msg)
	}
}

// private takes a member out that is configuration and not published.
func (c *converter) private(v *value, name string) string {
	m := v.get(name)
	switch {
	case m == nil || c.err != nil:
		return ""
	case m.kind != ijson.String || m.text == "":
		c.refuse(m, fmt.Sprintf("%s must be a URL or a path in a string, got %s", name, m.describe()))
	case c.signed:
		c.refuse(m, name+" is not published, but the signature covers it; move it to the configuration file (compensation) and sign again")
	}
	v.take(name)
	c.changed = true
	return m.text
}

// same reports whether two values are equal as JSON.
func same(a, b *value) bool {
	x, errX := ijson.AppendCanonical(nil, a.appendTo(nil), ijson.Limits{})
	y, errY := ijson.AppendCanonical(nil, b.appendTo(nil), ijson.Limits{})
	return errX == nil && errY == nil && string(x) == string(y)
}

// A conversion turns the value of an alias into that of the present name.
type conversion func(*value) (*value, error)

func keep(v *value) (*value, error) { return v, nil }

func seconds(v *value) (*value, error)      { return duration(v, time.Second) }
func milliseconds(v *value) (*value, error) { return duration(v, time.Millisecond) }

// duration reads "24h", "7d" or "2000ms" as an integer number of units. A bare
// number is one already.
func duration(v *value, unit time.Duration) (*value, error) {
	if v.kind == ijson.Number {
		return v, nil
	}
	d, err := parseDuration(v.text)
	if v.kind != ijson.String || err != nil || d < 0 || d%unit != 0 {
		return nil, fmt.Errorf(`must be a whole number of %s, such as %s, got %s`,
			map[time.Duration]string{time.Second: "seconds", time.Millisecond: "milliseconds"}[unit],
			map[time.Duration]string{time.Second: `"24h"`, time.Millisecond: `"2000ms"`}[unit], v.describe())
	}
	n := *v
	n.kind, n.text, n.raw = ijson.Number, "", strconv.FormatInt(int64(d/unit), 10)
	return &n, nil
}

// parseDuration is time.ParseDuration with days.
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 15)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}
