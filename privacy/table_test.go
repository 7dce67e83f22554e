package privacy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// valuesIn returns what is found in text, each as kind=value.
func valuesIn(text string) []string {
	var found []string
	for _, f := range New().Scan([]byte(text)).Findings {
		found = append(found, string(f.Kind)+"="+text[f.Start:f.End])
	}
	return found
}

// TestTables finds what only the name of its column tells.
func TestTables(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"far from the names", "id,name,ssn,dob\n1,Ann,536904399,1980-03-03\n2,Bob,536904398,03/04/81\n3,Eve,536904397,\n", []string{"ssn=536904399", "date_of_birth=1980-03-03", "ssn=536904398", "date_of_birth=03/04/81", "ssn=536904397"}},
		{"secrets", "name,url,username,password\na,https://a.example,ann,hunter2\nb,https://b.example,bob,Tr0ub4dor&3\n", []string{"password=hunter2", "password=Tr0ub4dor&3"}},
		{"semicolons", "Mitarbeiter;Geburtsdatum;BSN\nVogel, K.;3.3.1980;111222333\n", []string{"date_of_birth=3.3.1980", "nl_bsn=111222333"}},
		{"tabs", "id\tpassport no\tcity\r\n1\tC01X00T47\tBonn\r\n2\tC01X00T48\tBern\r\n", []string{"passport_number=C01X00T47", "passport_number=C01X00T48"}},
		{"quotes", "\"id\",\"bsn\",\"password\"\n\"1, or 2\",\"111222333\",\"hunt,er2\"\n", []string{"nl_bsn=111222333", "password=hunt,er2"}},
		{"Markdown", "Our people:\n\n| who | phone | password |\n|---|---|---|\n| Ann | 030 1234567 | `hunter2` |\n| Bob | 030 1234568 | s3cr3tPw9 |\n", []string{"phone=030 1234567", "password=hunter2", "phone=030 1234568", "password=s3cr3tPw9"}},
		{"behind prose", "Here it is:\nname,bsn\nann,111222333\n\nand no more\n", []string{"nl_bsn=111222333"}},
		{"other scripts", "имя;телефон\nИван;030 1234567\n", []string{"phone=030 1234567"}},
		{"names alone", "ssn,dob\n", nil},
		{"another number of cells", "id,bsn\nnobody,with a row as far as words reach\n1,111222333,x\n", nil},
		{"behind the table", "id,bsn\n1,2\n\n111222333\n", nil},
		{"another column", "id,note,bsn\nnobody,with a row as far as words reach,\n111222333,111222333,\n", nil},
		{"within a cell", "id,bsn\nnobody,with a row as far as words reach\n1,on file since 111222333\n", nil},
		{"prose", "Call me, please\nwith 1234567 in mind, thanks\n", nil},
		{"a program", "login(password, x)\nlogin(hunter2, y)\n", nil},
		{"arguments", "token,\nkey,\nalgorithms=[\"RS256\"],\n", nil},
		{"no password", "user,password\nann,required\nbob,${PASSWORD1}\n", nil},
		{"placeholders", "id,bsn\n1,[NL_BSN_REDACTED]\n", nil},
		{"the word of the names is not the word of the next row", "card,cvv,month\n2027,on file,11\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, valuesIn(c.text)); diff != "" {
				t.Errorf("%q: want -, got +:\n%s", c.text, diff)
			}
		})
	}
	if got, want := New().RedactText("id,bsn\n1,111222333\n2,x\n"), "id,bsn\n1,[NL_BSN_REDACTED]\n2,x\n"; got != want {
		t.Errorf("redacted: %q, want %q", got, want)
	}
	inJSON := `{"text":"id,bsn\n1,111222333\n2,111222333\n"}`
	if got := New().Scan([]byte(inJSON)).Findings; len(got) != 2 || got[0].Pointer != "/text" {
		t.Errorf("in a string of JSON: %v", got)
	}
}

// TestLongTables holds streams to the names of columns that have long passed, however
// the rows are cut.
func TestLongTables(t *testing.T) {
	const rows = 4000
	var b strings.Builder
	b.WriteString("id,city,bsn,password\n")
	for i := range rows {
		fmt.Fprintf(&b, "%d,Bonn,111222333,hunter%d\n", i, i)
	}
	text := b.String()
	for _, size := range []int{1, 777, len(text)} {
		st := New().NewStream(0)
		var pieces [][]byte
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			pieces = append(pieces, rest[:n])
			if _, err := st.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		if got := [2]int{st.Count("nl_bsn"), st.Count("password")}; got != [2]int{rows, rows} {
			t.Errorf("in pieces of %d: a stream finds %v, of %d rows", size, got, rows)
		}
		out := redact(t, FormatText, nil, pieces...)
		if got := [2]int{strings.Count(out, "[NL_BSN_REDACTED]"), strings.Count(out, "[PASSWORD_REDACTED]")}; got != [2]int{rows, rows} {
			t.Errorf("in pieces of %d: %v are redacted, of %d rows", size, got, rows)
		}
	}
}

// TestTableEnds lets a stream forget the names of columns once the table is over.
func TestTableEnds(t *testing.T) {
	const rows = 2500
	text := "id,bsn\n" + strings.Repeat("1,111222333\n", rows) + strings.Repeat("1,2,3\n"+strings.Repeat("x", 400)+",111222333\n", 400)
	st := New().NewStream(0)
	if _, err := st.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if got := st.Count("nl_bsn"); got != rows {
		t.Errorf("%d found, want %d", got, rows)
	}
}

// TestWideTable asks about each of many places in one row: it is read once. Reading it from
// its beginning for each place would take hours.
func TestWideTable(t *testing.T) {
	const places = 1 << 20
	text := "phone,password\nnobody,with a row as far as words reach\n" + strings.Repeat("1234567 ", places) + "," + strings.Repeat("a1 ", places) + "\n"
	if got := New().ScanText([]byte(text)).Findings; len(got) > 0 {
		t.Errorf("%d found, first %v", len(got), got[0])
	}
}

// FuzzTables holds redaction of text with rows to its law: nothing is found again.
func FuzzTables(f *testing.F) {
	f.Add("id,ssn,password\n1,536904399,hunter2\n2,,\"a,\"\n")
	f.Add("| a | пароль |\n|---|---|\n| x | hunter2 |\n")
	f.Add("tel;cvv;\r\n(030) 1234567;123;\r\n;;\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		clean := New().RedactText(text)
		if left := New().ScanText([]byte(clean)).Findings; len(left) > 0 {
			t.Errorf("%q becomes %q, where there is still %v", text, clean, left)
		}
	})
}
