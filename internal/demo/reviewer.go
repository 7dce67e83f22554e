package demo

import (
	"net/http"
	"strings"
	"unicode/utf8"
)

// NewReviewer returns an agent with the scope repo:read: it looks at a text and
// says what it thinks of it. It keeps nothing.
//
//	{"task":"review","data":{"path":"main.go","content":"…"}}
func NewReviewer() http.Handler {
	return newAgent("reviewer-agent", map[string]task{"review": review})
}

// A remark is one thing that a reviewer says about a line.
type remark struct {
	Line int    `json:"line"`
	Text string `json:"text"`
}

// maxRemarks bounds one review.
const maxRemarks = 100

func review(j *job) (any, error) {
	var q struct {
		Path    string `json:"path"`
		Content string `json:"content"`
	}
	if err := j.into(&q); err != nil {
		return nil, err
	}
	if q.Content == "" {
		return nil, refuse(http.StatusBadRequest, "a review needs content")
	}
	remarks := []remark{}
	n := 0
	for line := range strings.Lines(q.Content) {
		n++
		for _, text := range remarksOn(strings.TrimSuffix(line, "\n")) {
			remarks = append(remarks, remark{n, text})
		}
		if len(remarks) >= maxRemarks {
			remarks = remarks[:maxRemarks]
			break
		}
	}
	verdict := "approve"
	if len(remarks) > 0 {
		verdict = "request_changes"
	}
	return map[string]any{"status": "success", "path": q.Path, "verdict": verdict, "remarks": remarks}, nil
}

// remarksOn is what the reviewer says about one line.
func remarksOn(line string) (texts []string) {
	if utf8.RuneCountInString(line) > 120 {
		texts = append(texts, "longer than 120 characters")
	}
	if strings.TrimRight(line, " \t\r") != line {
		texts = append(texts, "white space at the end")
	}
	lower := strings.ToLower(line)
	for _, word := range []string{"password", "secret", "api_key"} {
		if strings.Contains(lower, word+" =") || strings.Contains(lower, word+":=") || strings.Contains(lower, word+" :=") {
			texts = append(texts, "looks like a secret in the source")
			break
		}
	}
	if strings.Contains(line, "panic(") {
		texts = append(texts, "return an error instead of panicking")
	}
	return texts
}
