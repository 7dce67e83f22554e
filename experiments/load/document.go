package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// A document holds tables of this program between two lines, such as
//
//	<!-- load: saturated -->
//	<!-- end of load -->
//
// What stands between them is written anew by each run that has made the table, and
// by no other.
const endMark = "<!-- end of load -->"

func beginMark(name string) string { return "<!-- load: " + name + " -->" }

// update writes the tables of a run into a document. The budget is written when the run
// has measured all of it.
func (r *result) update(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	blocks := map[string]string{}
	for _, t := range r.Tables {
		blocks[t.Name] = r.block(t.grid())
	}
	if len(r.Verdicts) == len(budgets()) {
		blocks["budget"] = r.block(r.budgetGrid())
	}
	if text, err = fillIn(text, blocks); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return replace(file, text)
}

// block is a table with the command that made it, and when.
func (r *result) block(grid [][]string) string {
	var b strings.Builder
	writeMarkdown(&b, grid)
	fmt.Fprintf(&b, "\n`%s`, %s, commit %s, load %s before the run.\n", r.Command, r.Began.Format("2006-01-02 15:04 MST"), r.Machine.Commit, r.Machine.Load)
	return b.String()
}

// fillIn puts blocks between their marks.
func fillIn(text []byte, blocks map[string]string) ([]byte, error) {
	var out bytes.Buffer
	open, replaced := "", false
	for line := range bytes.Lines(text) {
		mark := strings.TrimSpace(string(line))
		if name, ok := markedName(mark); ok {
			if open != "" {
				return nil, fmt.Errorf("%q has no end", beginMark(open))
			}
			out.Write(line)
			open = name
			var block string
			if block, replaced = blocks[name]; replaced {
				fmt.Fprintf(&out, "\n%s\n", block)
			}
			continue
		}
		if mark == endMark {
			if open == "" {
				return nil, fmt.Errorf("%q without a beginning", endMark)
			}
			open, replaced = "", false
		}
		if !replaced {
			out.Write(line)
		}
	}
	if open != "" {
		return nil, fmt.Errorf("%q has no end", beginMark(open))
	}
	return out.Bytes(), nil
}

func markedName(line string) (string, bool) {
	name, ok := strings.CutPrefix(line, "<!-- load: ")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(name, " -->")
}

// shown is a command as a shell takes it, without what says where the result goes.
func shown(args []string) string {
	words := []string{"go run ./experiments/load"}
	for i := 0; i < len(args); i++ {
		name, _, joined := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if name == "out" || name == "doc" {
			if !joined {
				i++
			}
			continue
		}
		word := args[i]
		if strings.ContainsAny(word, "^$|()[]*? ") {
			word = "'" + word + "'"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}
