package privacy

import (
	"slices"
	"testing"

	"github.com/inter-agent-trust/iatp"
)

// TestGroups: a group names only kinds that exist, and no kind is in two.
func TestGroups(t *testing.T) {
	kinds := Kinds()
	home := map[iatp.DataClass]Group{}
	for g, members := range grouped {
		for _, k := range members {
			if !slices.Contains(kinds, k) {
				t.Errorf("group %s has the kind %s, which nothing finds", g, k)
			}
			if other, taken := home[k]; taken {
				t.Errorf("%s is in the groups %s and %s", k, g, other)
			}
			home[k] = g
		}
	}
	for _, c := range []struct {
		kind iatp.DataClass
		want Group
	}{{iatp.CreditCard, Payment}, {iatp.SSN, Identity}, {"passport_number", Identity}, {"employee_id", Custom}, {"api_key", Secrets}} {
		if got := GroupOf(c.kind); got != c.want {
			t.Errorf("GroupOf(%s) = %s, want %s", c.kind, got, c.want)
		}
	}
	for _, k := range kinds {
		if !slices.Contains(New().ScanText([]byte(Example(k))).Classes(), k) {
			t.Errorf("Example(%s) = %q holds none", k, Example(k))
		}
	}
	slices.Sort(kinds)
	if n := len(slices.Compact(kinds)); n != len(Kinds()) {
		t.Errorf("Kinds names some kind twice: %d of %d differ", n, len(Kinds()))
	}
}
