package httpsig

import (
	"net/http"
	"strings"

	"github.com/inter-agent-trust/iatp"
)

// Target returns the target URI of a request from what its receiver knows:
// publicURL, its own origin (iatp.CheckOrigin), and the request target as it came
// in, of the request line or of :path. Nothing of it is decoded, cleaned or
// re-encoded, and an empty query keeps its "?".
//
// The absolute form must be of this origin. So must authority, the :authority of
// HTTP/2 or the Host of a request that came directly; "" if a proxy may have
// changed it. Otherwise the problem is 421 misdirected.
func Target(publicURL, target, authority string) (string, *iatp.Problem) {
	_, host, _ := strings.Cut(publicURL, "://")
	if authority != "" && authority != host {
		return "", misdirected()
	}
	path := target
	if !strings.HasPrefix(target, "/") {
		rest, ok := strings.CutPrefix(target, publicURL)
		switch {
		case ok && strings.HasPrefix(rest, "/"):
			path = rest
		case ok && (rest == "" || rest[0] == '?'): // a path is missing
			return "", refuse(iatp.SlugInvalidRequest, "request target must have a path, got %s", quote(target))
		case strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://"):
			return "", misdirected()
		default:
			return "", refuse(iatp.SlugInvalidRequest, "request target must be a path or an absolute URI, got %s", quote(target))
		}
	}
	uri := publicURL + path
	if !validTarget(uri) {
		return "", refuse(iatp.SlugInvalidRequest, "request target must be printable ASCII without # and white space, and its URI at most %d bytes", MaxTarget)
	}
	return uri, nil
}

func misdirected() *iatp.Problem {
	return &iatp.Problem{Slug: iatp.SlugMisdirected, Status: http.StatusMisdirectedRequest, Error: "the request is for another origin"}
}

// validTarget reports whether a target URI can be signed.
func validTarget(uri string) bool {
	for i := range len(uri) {
		if c := uri[i]; c <= ' ' || c > '~' || c == '#' {
			return false
		}
	}
	return uri != "" && len(uri) <= MaxTarget
}
