package main

import (
	"fmt"
	"strings"
)

// cleanBody is JSON of about n bytes in which there is nothing to find: a task
// with words and small numbers, as agents send each other.
func cleanBody(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"task":"plan_trip","items":[`)
	for i := 0; b.Len() < n-60 || i == 0; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"step":%d,"text":"compare the offers and note the cheapest one"}`, i%90)
	}
	b.WriteString(`]}`)
	return []byte(b.String())
}

// denseBody is JSON of about n bytes that is full of findings. The numbers are
// test numbers of the card brands.
func denseBody(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"task":"pay","cards":[`)
	for i := 0; b.Len() < n-60 || i == 0; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"card":"4111 1111 1111 1111","mail":"ann%d@example.com"}`, i)
	}
	b.WriteString(`]}`)
	return []byte(b.String())
}
