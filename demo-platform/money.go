package demoplatform

import "strings"

// fen is an amount of money in fen, a hundredth of a yuan. Money is never a float.
type fen int64

// yuan writes the whole amount with separators and two decimals: "12,865,000.00".
func (f fen) yuan() string {
	sign, whole, rest := split(f, 100)
	return sign + separated(whole) + "." + padded(rest, 2)
}

// wan writes the amount in units of ten thousand yuan, exactly and without trailing zeros: "1,286.5".
func (f fen) wan() string {
	sign, whole, rest := split(f, 1_000_000)
	decimals := strings.TrimRight(padded(rest, 6), "0")
	if decimals == "" {
		return sign + separated(whole)
	}
	return sign + separated(whole) + "." + decimals
}

// split divides the magnitude of f, which may be the smallest integer there is.
func split(f fen, unit uint64) (sign string, whole, rest uint64) {
	magnitude := uint64(f)
	if f < 0 {
		sign, magnitude = "-", -magnitude
	}
	return sign, magnitude / unit, magnitude % unit
}

// separated writes n with a comma before every third digit from the right.
func separated(n uint64) string {
	digits := padded(n, 1)
	var out strings.Builder
	for i, digit := range []byte(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteByte(digit)
	}
	return out.String()
}

// padded writes n with at least width digits.
func padded(n uint64, width int) string {
	var digits []byte
	for n > 0 || width > 0 {
		digits = append([]byte{byte('0' + n%10)}, digits...)
		n /= 10
		width--
	}
	return string(digits)
}
