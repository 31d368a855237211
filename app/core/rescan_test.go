package core_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/protocol"
)

// A phone whose claim never arrived scans the code again: the claim that then
// arrives carries the frame on the screen, not the one of the first attempt.
// Where the first one had arrived it is the next claim of the same phone.
func TestScanAgain(t *testing.T) {
	for name, arrived := range map[string]bool{"claim lost": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			w := enrolled(t)
			d := w.login(order{animated: true})
			w.intercept = func(call core.Call, serve func() core.Answer) (core.Answer, error) {
				if !strings.HasSuffix(call.URL, "/claim") {
					return serve(), nil
				}
				if arrived {
					serve()
				}
				return core.Answer{}, errLost
			}
			_, err := w.phone.Scan(t.Context(), d.link)
			wantCode(t, err, protocol.CodeNetwork)
			w.intercept = nil
			p, err := protocol.ParsePayload(d.link, []string{appOrigin})
			must(t, err)
			later := protocol.NewFrame(d.kFrame, d.ks.CID, 20)
			p.Frame = &later
			d.link, err = p.Encode(appOrigin)
			must(t, err)
			w.approve(w.scan(d))
			statement, _ := d.collect()
			wantSeq := uint32(1)
			if arrived {
				wantSeq = 2
			} else if !bytes.Equal(d.at.p.Frame, later.Bytes()) {
				t.Error("the claim carried the frame of the attempt that was lost")
			}
			if !bytes.Equal(statement.Frame, later.Bytes()) || statement.ClaimSeq != wantSeq {
				t.Errorf("signed frame %x in claim %d", []byte(statement.Frame), statement.ClaimSeq)
			}
			must(t, protocol.JudgeStatementFrame(statement.Frame, d.at.p.Frame, d.kFrame, d.ks.CID, statement.ClaimSeq, protocol.FramePeriod*20))
		})
	}
}
