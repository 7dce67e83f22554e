package handshake

import "testing"

// BenchmarkMeet is what every exchange pays: a visit that is still good.
func BenchmarkMeet(b *testing.B) {
	s := listen(b, "booking.test")
	s.honest(b, claim{key: key('k')})
	n := newNode(b, Options{}, s)
	b.ReportAllocs()
	for b.Loop() {
		if _, problem := n.Meet(b.Context(), "a"); problem != nil {
			b.Fatal(problem.Error)
		}
	}
}

// BenchmarkCaller is what every exchange pays on the other side.
func BenchmarkCaller(b *testing.B) {
	s := listen(b, "booking.test")
	own := key('k')
	n := newNode(b, Options{Peers: []Peer{{Pin: own.Public()}}}, s)
	jkt := own.Thumbprint()
	b.ReportAllocs()
	for b.Loop() {
		if _, problem := n.Caller(b.Context(), jkt, s.uri); problem != nil {
			b.Fatal(problem.Error)
		}
	}
}

// BenchmarkVisit is a visit to a peer that has nothing new: two requests over a
// connection that is open, two verifications.
func BenchmarkVisit(b *testing.B) {
	s := listen(b, "booking.test")
	s.honest(b, claim{key: key('k')})
	n := newNode(b, Options{}, s)
	b.ReportAllocs()
	for b.Loop() {
		n.later()
		n.meet()
	}
}
