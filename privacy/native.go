package privacy

import (
	"strings"
	"unicode/utf8"
)

// nativeWords are telling words in scripts without letters of ASCII, each with the
// telling word that it folds to. In scripts that put spaces between words one counts
// only as a whole word.
var nativeWords = map[string]string{
	"ИНН": "inn", "инн": "inn", "СНИЛС": "snils", "снилс": "snils", "Паспорт": "passport", "паспорт": "passport", "Телефон": "phone", "телефон": "phone", "Тел": "tel", "тел": "tel",
	"Пароль": "password", "пароль": "password", "Дата рождения": "dob", "дата рождения": "dob", "паспорта": "passport", "номер счета": "account number", "номер счёта": "account number", "ημερομηνία γέννησης": "dob", "РНОКПП": "rnokpp", "ІПН": "ipn", "ИИН": "iin", "ЖСН": "iin", "ЕГН": "egn", "ЈМБГ": "jmbg",
	"ΑΦΜ": "afm", "ΑΜΚΑ": "amka", "Τηλέφωνο": "phone", "τηλέφωνο": "phone", "Τηλ": "tel", "Διαβατήριο": "passport", "διαβατήριο": "passport",
	"ת.ז": "zehut", "ת״ז": "zehut", "תעודת זהות": "zehut", "טלפון": "phone", "סיסמה": "password", "דרכון": "passport", "هاتف": "phone", "جوال": "phone", "كلمة المرور": "password", "جواز": "passport",
	"身份证": "chinese id", "身份證": "chinese id", "护照": "passport", "護照": "passport", "电话": "phone", "電話": "phone", "手机": "phone", "手機": "phone", "密码": "password", "密碼": "password",
	"出生日期": "dob", "生日": "dob", "银行账号": "account number", "マイナンバー": "mynumber", "個人番号": "mynumber", "パスワード": "password", "生年月日": "dob", "旅券": "passport", "パスポート": "passport", "セキュリティコード": "security code",
	"口座番号": "account number", "주민등록번호": "rrn", "전화": "phone", "휴대폰": "phone", "비밀번호": "password", "생년월일": "dob", "여권": "passport", "계좌번호": "account number",
	"เลขประจำตัวประชาชน": "thai id", "โทร": "phone", "รหัสผ่าน": "password", "사업자등록번호": "brn", "统一社会信用代码": "uscc", "رقم الهوية": "national id", "香港身份證": "hkid", "κωδικός πρόσβασης": "password", "водительское удостоверение": "driver licence",
	"Дата на раждане": "dob", "Ημερομηνία γέννησης": "dob", "תאריך לידה": "dob", "تاريخ الميلاد": "dob", "วันเกิด": "dob", "ОГРН": "ogrn", "کد ملی": "national code", "الرقم القومي": "national id", "الرقم المدني": "civil id",
	"هوية وطنية": "national id", "الهوية الوطنية": "national id", "身份證號碼": "hkid", "身分證字號": "taiwan id",
	"आधार": "aadhaar", "फ़ोन": "phone", "फोन": "phone",
}

// nativeForms are the words as they are written, and in the names of members: in lower
// case or in capitals, with underscores for spaces.
var nativeForms = func() map[string]string {
	m := map[string]string{}
	for w, means := range nativeWords {
		for _, form := range [...]string{w, strings.ToLower(w), strings.ToUpper(w)} {
			m[form], m[strings.ReplaceAll(form, " ", "_")] = means, means
		}
	}
	return m
}()

// nativeFirst has the words by their first character, nativeBits which those are.
var (
	nativeFirst = func() map[rune][]string {
		m := map[rune][]string{}
		for w := range nativeForms {
			r, _ := utf8.DecodeRuneInString(w)
			m[r] = append(m[r], w)
		}
		return m
	}()
	nativeBits = func() (t [1 << 10]uint64) {
		for r := range nativeFirst {
			t[r>>6] |= 1 << (r & 63)
		}
		return t
	}()
)

// nativeWord appends the telling word that src begins with, which stands at i; r is
// its first character. It returns how long the word is in src, or 0. The longest
// counts: two may begin alike.
func (f *folded) nativeWord(src []byte, i int, r rune) int {
	if r >= 1<<16 || nativeBits[r>>6]>>(r&63)&1 == 0 {
		return 0
	}
	word := ""
	for _, w := range nativeFirst[r] {
		if len(w) > len(word) && len(src)-i >= len(w) && string(src[i:i+len(w)]) == w {
			word = w
		}
	}
	before, _ := utf8.DecodeLastRune(src[:i])
	after, _ := utf8.DecodeRune(src[i+len(word):])
	if word == "" || r < 0x0700 && (nativeLetter(before) || nativeLetter(after)) {
		return 0
	}
	add := func(c byte) { f.b, f.at = append(f.b, c), append(f.at, int32(i)) }
	if n := len(f.b); n > 0 && (f.b[n-1] >= twin || isLetter(f.b[n-1]) || isDigit(f.b[n-1])) {
		add(' ')
	}
	for _, c := range []byte(nativeForms[word]) {
		add(c)
	}
	if end := i + len(word); end < len(src) && (src[end] >= utf8.RuneSelf || byteKind[src[end]] == runByte) {
		add(' ')
	}
	return len(word)
}

// nativeLetter reports whether r is a letter of Greek, Cyrillic, Hebrew or Arabic.
func nativeLetter(r rune) bool {
	return r >= 0x0370 && r < 0x0700 && !strings.ContainsRune("·־׀׃،؛؟٪", r) && (r < 0x0660 || r > 0x0669)
}
