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
	c.rename(root, "privacy_contract", root, "privacy", keep)
	if root.get("identity") == nil {
		c.flat(root)
	}
	c.move(root, "agent_id", root, "identity", "agent_id", keep)
	c.word(root)
	if v := object(root, "capabilities"); v != nil {
		c.move(v, "reversibility", root, "reversibility", "level", keep)
		c.undo(v, root)
		c.rename(v, "sla_latency", v, "sla_latency_ms", milliseconds)
	}
	if v := object(root, "reversibility"); v != nil {
		c.rename(v, "undo_window", v, "undo_window_seconds", seconds)
		c.compensate = c.private(v, "compensation_endpoint")
		c.check = c.private(v, "check_endpoint")
		if cond := object(v, "undo_conditions"); cond != nil && cond.get("check_endpoint") != nil {
			c.check = c.private(cond, "check_endpoint")
		}
	}
	if v := object(root, "privacy"); v != nil {
		c.rename(v, "retention", v, "retention_policy", keep)
		c.rename(v, "human_review", v, "human_in_loop", keep)
	}
}

// flat moves the top-level members of the flat form to where they belong today.
func (c *converter) flat(root *value) {
	for _, name := range []string{"verification_key", "owner", "contact"} {
		c.move(root, name, root, "identity", name, keep)
	}
	for _, name := range []string{"idempotency", "concurrency_limit", "sla_latency_ms"} {
		c.move(root, name, root, "capabilities", name, keep)
	}
	c.move(root, "sla_latency", root, "capabilities", "sla_latency_ms", milliseconds)
	for _, name := range []string{"retention_policy", "human_in_loop", "training_consent"} {
		c.move(root, name, root, "privacy", name, keep)
	}
	c.move(root, "retention", root, "privacy", "retention_policy", keep)
	c.move(root, "human_review", root, "privacy", "human_in_loop", keep)
	c.word(root)
	c.undo(root, root)
}

// undo moves what v says about undoing into root's reversibility.
func (c *converter) undo(v, root *value) {
	c.move(v, "undo_window", root, "reversibility", "undo_window_seconds", seconds)
	for _, name := range []string{"undo_window_seconds", "compensation_method", "compensation_endpoint"} {
		c.move(v, name, root, "reversibility", name, keep)
	}
}

// object returns the member of that name if it is an object.
func object(v *value, name string) *value {
	if child := v.get(name); child != nil && child.kind == ijson.BeginObject {
		return child
	}
	return nil
}

// word turns a reversibility that is a mere word into an object with that level.
func (c *converter) word(root *value) {
	v := root.get("reversibility")
	if v == nil || v.kind != ijson.String {
		return
	}
	c.edit(v)
	root.take("reversibility")
	child := &value{kind: ijson.BeginObject, at: v.at}
	child.set("level", v)
	root.set("reversibility", child)
}

// move is rename into the object member of root, which is made if it is missing.
func (c *converter) move(from *value, old string, root *value, into, name string, as conversion) {
	v := from.get(old)
	if v == nil || c.err != nil {
		return
	}
	if root.get(into) == nil {
		root.set(into, &value{kind: ijson.BeginObject, at: v.at})
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
	if v.kind == ijson.Null { // older programs write out what they do not have
		from.take(old)
		return
	}
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
		c.refuse(v, fmt.Sprintf("%s says %s here, but %s of the published form says %s; keep that one only",
			old, v.describe(), name, present.describe()))
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
	case m.kind == ijson.Null && !c.signed:
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
