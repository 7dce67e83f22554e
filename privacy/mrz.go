package privacy

// Lines of the machine-readable zone of a travel document: ICAO Doc 9303, parts 4 to
// 6. A passport has two of 44 characters, a visa or an older card two of 36, a card
// three of 30. The second line has the dates, and what checks them.
const (
	mrzPassport = 44
	mrzVisa     = 36
	mrzCard     = 30
)

// mrz looks for the second line of a machine-readable zone at i, and reports it with
// the other lines beside it. It returns where to go on, or i.
func (f *finder) mrz(i int) int {
	text := f.text
	if i+mrzCard > len(text) || i > 0 && mrzByte(text[i-1]) {
		return i
	}
	if mrzSex(text[i+20]) && isDigit(text[i+27]) {
		for _, n := range [...]int{mrzPassport, mrzVisa} {
			if line := f.mrzLine(i, n); line != nil && mrzChecked(line[:9], line[9]) && mrzDates(line[13:], line[21:]) && mrzName(line[10:13]) &&
				mrzChecked(append(append(append([]byte(nil), line[:10]...), line[13:20]...), line[21:n-1]...), line[n-1]) {
				return f.hit(&passports, f.mrzBefore(i, n), i+n, 0.97)
			}
		}
	}
	if !mrzSex(text[i+7]) || !isDigit(text[i+14]) {
		return i
	}
	line := f.mrzLine(i, mrzCard)
	if line == nil || !mrzDates(line, line[8:]) || !mrzName(line[15:18]) || !isDigit(line[29]) {
		return i
	}
	start, end := f.mrzBefore(i, mrzCard), i+mrzCard
	if next := f.spaces(end); next > end && f.mrzLine(next, mrzCard) != nil {
		end = next + mrzCard
	}
	return f.hit(&passports, start, end, 0.95)
}

// mrzLine returns the line of n characters at i, nil if there is none.
func (f *finder) mrzLine(i, n int) []byte {
	if i < 0 || i+n > len(f.text) || i+n < len(f.text) && mrzByte(f.text[i+n]) {
		return nil
	}
	for _, c := range f.text[i : i+n] {
		if !mrzByte(c) {
			return nil
		}
	}
	return f.text[i : i+n]
}

// mrzBefore returns where the line of n characters before text[i] begins, with the kind
// of document, or i.
func (f *finder) mrzBefore(i, n int) int {
	last := i
	for last > 0 && i-last < 3 && f.text[last-1] <= ' ' {
		last--
	}
	if line := f.mrzLine(last-n, n); last < i && line != nil && upper(line[0]) && mrzName(line[2:5]) {
		return last - n
	}
	return i
}

// spaces returns the end of at most three spaces or line ends at text[i].
func (f *finder) spaces(i int) int {
	end := i
	for end < len(f.text) && end-i < 3 && f.text[end] <= ' ' {
		end++
	}
	return end
}

func mrzByte(c byte) bool { return isDigit(c) || upper(c) || c == '<' }
func mrzSex(c byte) bool  { return c == 'M' || c == 'F' || c == '<' || c == 'X' }

// mrzName reports whether b is the code of a state: letters, D<< for Germany.
func mrzName(b []byte) bool {
	for i, c := range b {
		if !upper(c) && (c != '<' || i == 0) {
			return false
		}
	}
	return true
}

// mrzDates reports whether a date of birth and one of expiry begin two texts, each
// with what checks it behind.
func mrzDates(birth, expiry []byte) bool {
	day := func(b []byte) bool {
		return endOfDigits(b[:7], 0) == 7 && mrzChecked(b[:6], b[6]) && value(b[2:4]) <= 12 && value(b[4:6]) <= 31
	}
	return day(birth) && day(expiry)
}

// mrzChecked reports whether check is the digit that checks b.
func mrzChecked(b []byte, check byte) bool {
	sum := 0
	for i, c := range b {
		n := 0
		switch {
		case isDigit(c):
			n = int(c - '0')
		case upper(c):
			n = int(c-'A') + 10
		}
		sum += n * [3]int{7, 3, 1}[i%3]
	}
	return check == byte('0'+sum%10)
}
