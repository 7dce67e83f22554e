// Package privacy finds sensitive values in what agents send each other, and
// takes them out of what is recorded: payment cards, social security numbers of
// the United States, e-mail addresses.
//
// It reads values, not bytes. In JSON it looks at strings, numbers and member
// names, and at JSON nested in strings, four deep; a card is the same card in
// groups or in one piece, with dashes, dots or spaces of any script, in
// full-width or other decimal digits, with invisible characters between, written
// as \u escapes, or as the number 4.532015112830366e15.
//
//	report, err := scanner.ScanJSON(body, privacy.Limits{})
//	if err != nil {
//		return err // not valid I-JSON
//	}
//	for _, class := range report.Classes() { ... }
//	record(privacy.AppendRedacted(nil, body, report))
//
// A [Finding] says what kind of value stands where, and how sure that is; it
// never holds the value. [Scanner.ScanText] does the same for text, and a
// [Stream] for replies of any type and size as they pass, in a window of a few
// KiB. A [Redactor] also takes out what it finds as it passes, so that JSON
// stays JSON and an event is late by no more than itself.
//
// # How sure
//
// A card has 13 to 19 digits, a range that some network issues, and a check
// digit (Luhn). One random number in ten has the right check digit, so ranges
// that are very wide (most of Maestro's, all of UATP's) count only in the
// grouping of a card or beside a telling word ("card", "pan"). Digits in odd
// groups count if they are all there is of their row, or begin it beside such a
// word. Digits behind a decimal point, in a hexadecimal number, in a run of more
// than 19, or behind the plus of a telephone number are no card.
//
// A social security number has no check digit. In the form 123-45-6789, with
// dashes or spaces, it stands for itself; nine digits in any other form need a
// telling word ("ssn", "social security") in the name of the member or of the
// one around it, or within 32 characters before or 24 after. Areas 000, 666 and
// from 900, group 00 and serial 0000 were never issued; 078-05-1120 and
// 219-09-9999, printed in advertising, are nobody's. 123-45-6789 may be
// somebody's and is found.
//
// All other kinds are reported and redacted, and block nothing. Numbers with one
// check digit need a telling word; so do passports, licences, accounts and dates
// of birth, which have no form of their own. A password is what stands in a
// member called so, or behind "password=".
//
// [Scanner.ScanBody] reads forms, multipart parts, lines of JSON and events as
// what they are; [Decode] and [NewDecoder] undo content codings first.
//
// [NewWith] takes detectors of one's own, and values that may be seen.
//
// # What is decoded
//
// Escapes of JSON, percent-encoding and character references of HTML count as
// what they stand for, and so do letters that look like those of ASCII in a word
// with ASCII letters. Base64 and hexadecimal that spell text are looked into,
// twice, up to 64 KiB a piece (4 KiB in streams of text, and in JSON strings of
// more than 64 KiB); what holds a value there is taken out whole.
//
// # What is not found
//
// Know these before relying on the scanner:
//
//   - a value split over several events, lines or headers; over JSON members
//     and elements it is found in groups that are usual, if their names tell,
//     and a [Redactor] then takes out only the last part
//   - a value spelt across separators other than spaces, dashes, dots, "/", "_"
//     and "+" of any script
//   - compression inside of text, encryption, base64 longer than that or three
//     times over, digits written as words or as look-alike letters, superscripts, digits in
//     circles,
//     digits in circles
//   - a card with something joined to it that makes a longer run of digits, or
//     that stands in odd groups among other groups of digits
//   - in a stream, a value stretched over more than 8 KiB of the text by
//     invisible characters and escapes; the rest of a private key or token
//     behind its first 7 KiB
//   - a value whose only telling word is in a neighbouring member, but for what
//     is called value and stands behind a name: {"kind":"ssn","value":"536904399"}
//   - a row of 17 to 19 digits in JSON that is a number of a card only once it is
//     rounded to a double
//   - an identity number that follows other groups of digits
//   - a UUID or a time of RFC 3339 that is the whole of a string is not looked
//     into
//   - addresses with a quoted local part, an address literal or no dot in the
//     domain; the user and host of a URL
//   - names, street addresses and everything else that is not listed
//
// JSON nested in strings deeper than four is read as text. Of what was not
// looked into, [Report.Opaque] says where it is and why.
//
// # How it works
//
// Each detector is a table: digits or a pattern, a check, telling words, and the
// texts that it must hit and must not, which a test runs. A prefilter looks at
// eight bytes at a time and lets most text go: what has neither three digits, nor
// twelve bytes without a space, nor one of @ : = % & holds nothing, unless a
// member name tells that it does. The rest is folded, one byte a character, and
// walked twice: from one row of digits to the next, and from one row of letters
// and digits to the next. Nothing backtracks: the time is linear in the length
// of the input whatever is in it. A body in which nothing is found costs no
// allocation.
package privacy
