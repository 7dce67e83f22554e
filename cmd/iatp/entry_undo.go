package main

import (
	"github.com/inter-agent-trust/iatp/flight"
)

// step is what a record says of a transaction, a call or a saga (flight.Tx).
type step struct {
	Kind     flight.TxKind `json:"kind"`
	State    string        `json:"state"`
	Who      string        `json:"who"`
	Fee      string        `json:"fee"`
	Returned string        `json:"returned"`
	Currency string        `json:"cur"`
	Breach   bool          `json:"breach"`
	Held     bool          `json:"held"`
	Manual   bool          `json:"manual"`
	Receipt  string        `json:"receipt"`
}

// whoAsks says in words who asked for an undo (the By… of package undo).
var whoAsks = map[string]string{
	"caller":   "its caller asked",
	"saga":     "its saga is given up",
	"ingress":  "the call had failed",
	"operator": "the operator asked",
	"recovery": "of what was found out",
}

// compensation says what became of an undo, or of a saga.
func (e *entry) compensation() (string, ink) {
	s := &e.Tx
	what := chosen(s.Kind == flight.TxSaga, "the saga", "it")
	why := ""
	if text, ok := whoAsks[s.Who]; ok {
		why = ", because " + text
	}
	if e.Note != "" {
		why += ": " + shown(e.Note)
	}
	switch s.State {
	case "active":
		return what + " begins", plain
	case "compensating":
		return what + " is being undone" + why, yellow
	case "compensated":
		return join(", ", what+" is undone", s.money()), green
	case "partially_compensated":
		return join(", ", what+" is undone in part", s.money()), yellow
	case "compensation_failed":
		if s.Who == "operator" {
			return join(": ", what+" stays as it is, a person says", shown(e.Note)), plain
		}
		return join("; ", what+" could not be undone", words(e.Error), "a person is asked"), red
	case "committed":
		return what + " has taken effect, as was found out later", plain
	case "failed":
		return what + " did not take effect, as was found out later", plain
	case "closed":
		return what + " is closed: its calls stand", green
	}
	switch {
	case s.Manual:
		return join("; ", what+" waits for a person", words(e.Error)), red
	case s.Held:
		return "an undo was asked for in time and could not be taken then: its window stays open for an hour", yellow
	case s.Receipt != "":
		return "its caller was given a receipt of that", plain
	case s.Who != "":
		return "an undo is to follow" + why, yellow
	}
	return join(": ", what+" goes on", words(e.Error)), plain
}

// money is what an undo did cost and gave back.
func (s *step) money() string {
	said := func(text, amount string) string {
		return chosen(amount != "", text+" "+shown(amount)+" "+shown(s.Currency), "")
	}
	return join(", ", said("for a fee of", s.Fee)+chosen(s.Breach, ", which is more than was agreed", ""), said("given back", s.Returned))
}
