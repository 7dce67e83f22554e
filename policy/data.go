package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/privacy"
)

// A Finding is sensitive data of some kind at some place.
type Finding struct {
	Kind iatp.DataClass
	// Pointer is the RFC 6901 pointer of the JSON leaf that holds it. Empty is a
	// place that is not known: it may be the one that a deny or warn rule names,
	// and is none that an allow rule does.
	Pointer string
}

// Counts reports whether what was found is sure enough for rules (see
// DataOptions.MinConfidence).
func (d *DataRules) Counts(f *privacy.Finding) bool {
	return d == nil || f.Confidence >= d.least || f.Kind == iatp.CreditCard || f.Kind == iatp.SSN
}

// Counts reports whether what was found is sure enough for the rules of s.
func (s *Set) Counts(f *privacy.Finding) bool { return s.dataRules().Counts(f) }

// FindingsOf makes Findings out of what a scan reports and the rules of s count:
// sorted, each kind at each place once.
func (s *Set) FindingsOf(r privacy.Report) []Finding { return s.dataRules().FindingsOf(r) }

// FindingsOf makes Findings out of what a scan reports and d counts, as that of Set.
func (d *DataRules) FindingsOf(r privacy.Report) []Finding {
	if len(r.Findings) == 0 {
		return nil
	}
	all := make([]Finding, 0, len(r.Findings))
	for i := range r.Findings {
		if !d.Counts(&r.Findings[i]) {
			continue
		}
		f := Finding{r.Findings[i].Kind, r.Findings[i].Pointer}
		if len(all) == 0 || all[len(all)-1] != f {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Pointer, b.Pointer))
	})
	return slices.Compact(all)
}

// holdsKind reports whether one of the findings is of a kind.
func holdsKind(found []Finding, kind iatp.DataClass) bool {
	return slices.ContainsFunc(found, func(f Finding) bool { return f.Kind == kind })
}

// A term is what a rule says of data: kinds, and a place if it names one.
type term struct {
	kinds []iatp.DataClass // nil for any
	at    []string         // segments of a pointer, "*" for any; nil for any place
}

// covers reports whether a finding is one that t speaks of. sure is what an allow
// rule needs: a place that is not known is then no place of its.
func (t *term) covers(f Finding, sure bool) bool {
	if t.kinds != nil && !slices.Contains(t.kinds, f.Kind) {
		return false
	}
	if t.at == nil {
		return true
	}
	if f.Pointer == "" {
		return !sure
	}
	return under(f.Pointer, t.at)
}

// under reports whether a pointer is at a place, or below it.
func under(pointer string, place []string) bool {
	for _, want := range place {
		rest, ok := strings.CutPrefix(pointer, "/")
		if !ok {
			return false
		}
		segment, _, _ := strings.Cut(rest, "/")
		if want != "*" && want != segment {
			return false
		}
		pointer = rest[len(segment):]
	}
	return true
}

// covered reports whether terms speak of one of the findings, or of all of them if
// a rule allows. No findings, nothing covered.
func covered(terms []term, found []Finding, all bool) bool {
	for _, f := range found {
		hit := slices.ContainsFunc(terms, func(t term) bool { return t.covers(f, all) })
		if hit != all {
			return hit
		}
	}
	return all && len(found) > 0
}

// parsePlace splits a pointer into segments.
func parsePlace(pointer string) ([]string, error) {
	if len(pointer) < 2 || pointer[0] != '/' || len(pointer) > maxPlace {
		return nil, fmt.Errorf("want a JSON pointer such as /payment/card, or /items/*/email for all items, got %s", quote(pointer))
	}
	segments := strings.Split(pointer[1:], "/")
	for _, s := range segments {
		for i := range len(s) {
			if s[i] == '~' && (i+1 == len(s) || s[i+1] != '0' && s[i+1] != '1') {
				return nil, fmt.Errorf("in a JSON pointer ~ is written ~0, and / inside a name ~1; got %s", quote(pointer))
			}
		}
	}
	return segments, nil
}

// maxPlace is how long a pointer in a rule may be.
const maxPlace = 1024

// A vocabulary is the kinds of data that rules may name.
type vocabulary struct {
	builtin, own []iatp.DataClass
}

func vocabularyOf(own []iatp.DataClass) *vocabulary {
	return &vocabulary{privacy.Kinds(), own}
}

// parseTerm reads "email", "secrets", "any", or one of them "at /a/pointer".
func (v *vocabulary) parseTerm(text string) (term, error) {
	name, pointer, placed := strings.Cut(text, " at ")
	kinds, err := v.kinds(strings.TrimSpace(name))
	if err != nil || !placed {
		return term{kinds: kinds}, err
	}
	at, err := parsePlace(strings.TrimSpace(pointer))
	return term{kinds, at}, err
}

// kinds returns what a name stands for: a kind, the kinds of a group, or nil for
// any.
func (v *vocabulary) kinds(name string) ([]iatp.DataClass, error) {
	if name == "any" {
		return nil, nil
	}
	kind := iatp.DataClass(name)
	if slices.Contains(v.builtin, kind) || slices.Contains(v.own, kind) {
		return []iatp.DataClass{kind}, nil
	}
	if !slices.Contains(privacy.Groups(), privacy.Group(name)) {
		return nil, fmt.Errorf("there is no kind of data %s%s", quote(name), v.suggest(name))
	}
	members := []iatp.DataClass{} // a group without members stands for nothing
	for _, k := range slices.Concat(v.builtin, v.own) {
		if privacy.GroupOf(k) == privacy.Group(name) {
			members = append(members, k)
		}
	}
	return members, nil
}

// suggest ends an error about a name with those that it may stand for.
func (v *vocabulary) suggest(name string) string {
	const list = " (iatp scan-text --kinds lists all)"
	type near struct {
		name string
		far  int
	}
	var found []near
	low := strings.ToLower(strings.NewReplacer("-", "_", " ", "_").Replace(name))
	consider := func(known string) {
		far := distance(low, known)
		if far > 1+len(known)/4 {
			if len(low) < 3 || !strings.Contains(known, low) && !strings.Contains(low, known) {
				return
			}
			far = 10 + len(known)
		}
		found = append(found, near{known, far})
	}
	for _, k := range slices.Concat(v.builtin, v.own) {
		consider(string(k))
	}
	for _, g := range privacy.Groups() {
		consider(string(g))
	}
	consider("any")
	if len(found) == 0 || len(name) > 64 {
		return list
	}
	slices.SortStableFunc(found, func(a, b near) int { return cmp.Compare(a.far, b.far) })
	names := make([]string, 0, 3)
	for _, n := range found[:min(len(found), 3)] {
		names = append(names, n.name)
	}
	return "; did you mean " + strings.Join(names, ", ") + "?" + list
}

// distance is the number of letters to add, drop or change (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
