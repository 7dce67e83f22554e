package privacy

import (
	"strings"
	"testing"
	"unicode"

	"github.com/inter-agent-trust/iatp"
)

// TestLookalikes finds values written with letters and separators of other
// scripts, and leaves words of those scripts alone.
func TestLookalikes(t *testing.T) {
	s := New()
	for _, c := range []struct {
		text string
		want iatp.DataClass
	}{
		{"DЕ89370400440532013000", "iban"},          // Cyrillic Е
		{"АKIA" + "Z7QW3N5P9R1T4V6X", "api_key"},    // Cyrillic А
		{"ＡＫＩＡ" + "Z7QW3N5P9R1T4V6X", "api_key"},    // full width
		{"𝐀𝐊𝐈𝐀" + "Z7QW3N5P9R1T4V6X", "api_key"},    // mathematical
		{"сard 4532.0151.1283.0366", "credit_card"}, // Cyrillic с
		{"ѕsn 536904399", "ssn"},
		{"passрοrt: C01X00T47", "passport_number"}, // Cyrillic р, Greek ο
		{"pаsswοrd=hunter2", "password"},
		{"4532·0151·1283·0366", "credit_card"}, {"4532ꓸ0151", ""}, {"4532⁓0151⁓1283⁓0366", "credit_card"}, {"4532─0151─1283─0366", "credit_card"},
		{"4532⧸0151⧸1283⧸0366", "credit_card"}, {"4532～0151～1283～0366", "credit_card"}, {"536⸱90⸱4399 ssn", "ssn"}, {"4532﹍0151﹍1283﹍0366", "credit_card"},
		{"ａｎｎ＠ｅｘａｍｐｌｅ．ｃｏｍ", "email"}, {"аnn@exаmple.com", "email"}, {"почта@пример.рф", "email"},
		{"contraseña: s3cr3t!9", "password"}, {"Numéro de sécurité sociale 184127645108946", "fr_nir"}, {"cédula 1714307103", "ec_cedula"}, // with accents
		{"pąsswörd=hunter2", "password"}, {"Führerschein B0723325", "driver_licence"}, {"Zażółć gęślą jaźń 12", ""},
		{"ИНН 7707083893", "ru_inn"}, {"винница 7707083893", ""}, {"инннн 7707083893", ""}, {"ЕГН: 7523169263", "bg_egn"}, {"ΑΦΜ 094259216", "gr_afm"}, {"ת.ז. 039337423", "il_id"}, // words of other scripts
		{"マイナンバー123456789018", "jp_my_number"}, {"{\"个人\":{\"手机\":\"13800138000\"}}", "phone"}, {"주민등록번호 9710139019902", "kr_rrn"}, {"生日1980-02-14", "date_of_birth"}, {"电话ann@example.com", "email"},
		{"Пароль: hunter2x", "password"}, {"密码=hunter2x", "password"}, {"आधार 2341 2341 2346", "in_aadhaar"}, {"телефон не отвечает 12", ""},
		{"電話 ０９０ー１２３４ー５６７８", "phone"}, {"データセンター4号館ー7", ""}, {`\x34\x35\x33\x32015112830366`, "credit_card"}, {`C:\x86\x64 \xff\xfe 12`, ""},
		{"карта 4532015112830366", "credit_card"}, {"а4532015112830366", "credit_card"},
		{"Сумма к оплате: 12 500 рублей, срок до 30 ноября", ""}, {"Η τιμή είναι 149 ευρώ", ""},
	} {
		var want []iatp.DataClass
		if c.want != "" {
			want = append(want, c.want)
		}
		if got := s.Scan([]byte(c.text)).Classes(); len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
			t.Errorf("%q: %v, want %v", c.text, got, want)
		}
	}
}

// TestTwins: what looks alike is a letter, and no two fold to the same byte as
// something else does.
func TestTwins(t *testing.T) {
	n := 0
	for i, c := range twins {
		if c == 0 {
			continue
		}
		n++
		if r := rune(0x0391 + i); !unicode.IsLetter(r) || !asciiLetter(c&^twin) || unicode.IsUpper(r) != upper(c&^twin) {
			t.Errorf("%c folds to %q", r, c)
		}
	}
	if want := len([]rune("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧνοАВЕЅІЈКМНОРСТУХаеорсухѕіј")); n != want {
		t.Errorf("%d twins, want %d", n, want)
	}
	var f folded
	f.fold([]byte(strings.Repeat("а", 10) + "b" + strings.Repeat("а", 10) + " а"))
	if got := string(f.b); got != strings.Repeat("a", 10)+"b"+strings.Repeat("a", 10)+" \x03" {
		t.Errorf("folded to %q", got)
	}
}

// TestNativeWords: what a word of another script folds to tells of something, in any
// case, and in the name of a member as well.
func TestNativeWords(t *testing.T) {
	known := map[string]bool{}
	for _, d := range builtin().all {
		for _, w := range d.words {
			known[w] = true
		}
	}
	for word, means := range nativeWords {
		if !known[means] {
			t.Errorf("%s means %q, which tells of nothing", word, means)
		}
	}
	for _, text := range []string{`{"егн":"7523169263"}`, `{"ЕГН":"7523169263"}`, `{"αφμ":"023456780"}`, `{"תעודת_זהות":"039337423"}`, `{"дата_рождения":"14.02.1980"}`, "ДАТА РОЖДЕНИЯ: 14.02.1980"} {
		if len(New().Scan([]byte(text)).Findings) == 0 {
			t.Errorf("%s: nothing found", text)
		}
	}
}
