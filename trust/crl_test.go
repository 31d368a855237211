package trust_test

import (
	"errors"
	"testing"
	"time"

	"github.com/bidseal/bidseal/trust"
)

// TestVerifyCRLs: among several lists only the newest counts that covers the
// certificate; none that is stale, of another issuer or of another shard can
// stand in for it.
func TestVerifyCRLs(t *testing.T) {
	const own, other = "http://ca.example/1.3of4.crl", "http://ca.example/1.2of4.crl"
	leaf := template(3, "leaf")
	leaf.CRLDistributionPoints = []string{own}
	c := newChain(t, newSM2, leaf)
	stranger := newChain(t, newSM2, template(3, "leaf"))
	serial := c.leaf.cert.SerialNumber
	mine, others := makeCRL(t, c.issuing, own, serial), makeCRL(t, c.issuing, other, serial)
	foreign := makeCRL(t, stranger.issuing, own, serial)
	options := trust.CRLOptions{Now: day()}
	for name, v := range map[string]struct {
		lists [][]byte
		o     trust.CRLOptions
		want  error
	}{
		"none":           {nil, options, trust.ErrStatusMismatch},
		"another shard":  {[][]byte{others}, options, trust.ErrStatusMismatch},
		"another issuer": {[][]byte{foreign, others}, options, trust.ErrUntrusted},
		"stale":          {[][]byte{mine}, trust.CRLOptions{Now: day().Add(48 * time.Hour)}, trust.ErrStaleStatus},
		"no list":        {[][]byte{[]byte("?")}, options, trust.ErrMalformed},
	} {
		if _, err := trust.VerifyCRLs(v.lists, c.leaf.cert, c.issuing.cert, v.o); !errors.Is(err, v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	status, err := trust.VerifyCRLs([][]byte{others, foreign, mine}, c.leaf.cert, c.issuing.cert, options)
	must(t, err)
	if status.State != trust.Revoked {
		t.Errorf("among all: %v", status.State)
	}
}
