package benchcmd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

// triesOfKeystore is how many passwords the run tries on one keystore: below the ten at which it locks.
const triesOfKeystore = 5

// benchTry is one try of a password, ready to be sent.
type benchTry struct {
	blinding *assistapi.Blinding
	body     []byte
	proof    string
}

// unlock has passwords evaluated for the phones of the last issuances. Each keystore is registered before the clock
// starts, and every answer is verified against the pinned key after it has stopped.
func (b *caBench) unlock(ctx context.Context, report costs) error {
	n := b.o.unlocks
	tries := make([]*benchTry, 0, n)
	for i := 0; len(tries) < n; i++ {
		more, err := b.keystoreTries(ctx, b.phones[i%len(b.phones)], min(triesOfKeystore, n-len(tries)))
		if err != nil {
			return err
		}
		tries = append(tries, more...)
	}
	answers := make([][]byte, n)
	took, cpu, err := b.measured(func() error {
		return concurrently(ctx, n, b.o.workers, func(ctx context.Context, i int) (err error) {
			answers[i], err = b.proven(ctx, assistapi.PathEvaluate, tries[i].body, tries[i].proof)
			return err
		})
	})
	if err != nil {
		return err
	}
	for i, raw := range answers {
		var answer assistapi.EvaluateAnswer
		if err := protocol.DecodeJSON(raw, &answer); err != nil {
			return err
		}
		if _, err := tries[i].blinding.Finalize(answer.Evaluated, answer.Proof); err != nil {
			return err
		}
	}
	report("password evaluations", n, took, cpu)
	return nil
}

// proven posts a body with a proof over the empty pass.
func (b *caBench) proven(ctx context.Context, path string, body []byte, proof string) ([]byte, error) {
	return b.call(ctx, http.MethodPost, path, body, http.Header{"Content-Type": {"application/json"}, protocol.HeaderProof: {proof}})
}

// signedBody encodes a body and its proof by the phone's device key.
func (b *caBench) signedBody(phone *benchEnrolment, path string, v any) (body []byte, proof string, err error) {
	if body, err = protocol.EncodeJSON(v); err != nil {
		return nil, "", err
	}
	proof, err = protocol.NewProof(phone.device, "", protocol.Call{Method: http.MethodPost, URL: b.url + path, Body: body}, time.Now())
	return body, proof, err
}

// keystoreTries registers a keystore of a phone and makes tries on it.
func (b *caBench) keystoreTries(ctx context.Context, phone *benchEnrolment, n int) ([]*benchTry, error) {
	random, err := protocol.Random(2*assistapi.IDSize + 32 + assistapi.SeedSize)
	if err != nil {
		return nil, err
	}
	keystore, begin, secret := random[:assistapi.IDSize], random[assistapi.IDSize:2*assistapi.IDSize], random[2*assistapi.IDSize:]
	begun, device, err := b.begin(ctx, phone, keystore, begin, secret)
	if err != nil {
		return nil, err
	}
	tries := make([]*benchTry, n)
	for i := range tries {
		input := assistapi.Input(keystore, begun.Epoch, fmt.Append(nil, "password ", i))
		t := &benchTry{}
		if t.blinding, err = assistapi.Blind(begun.Suite, begun.ServerKey, input, secret); err != nil {
			return nil, err
		}
		r := assistapi.EvaluateRequest{V: assistapi.Version, Device: device, Keystore: keystore, Epoch: begun.Epoch, Blinded: t.blinding.Blinded}
		if r.Attempt, err = protocol.Random(assistapi.IDSize); err != nil {
			return nil, err
		}
		if err := r.Sign(phone.device); err != nil {
			return nil, err
		}
		if t.body, t.proof, err = b.signedBody(phone, assistapi.PathEvaluate, r); err != nil {
			return nil, err
		}
		tries[i] = t
	}
	return tries, nil
}

// begin registers the first epoch of a keystore.
func (b *caBench) begin(ctx context.Context, phone *benchEnrolment, keystore, begin, secret []byte) (begun *assistapi.BeginAnswer, device string, err error) {
	spki, err := protocol.MarshalKey(phone.device.Public())
	if err != nil {
		return nil, "", err
	}
	device = protocol.DeviceID(spki)
	proofKey, err := assistapi.ProofKey(keystore, secret)
	if err != nil {
		return nil, "", err
	}
	ephemeral, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("ephemeral key: %w", err)
	}
	point, err := assistapi.Point(&ephemeral.PublicKey)
	if err != nil {
		return nil, "", err
	}
	body, proof, err := b.signedBody(phone, assistapi.PathBegin, assistapi.BeginRequest{
		V: assistapi.Version, Device: device, Keystore: keystore, Begin: begin, ProofKey: []byte(proofKey[ed25519.SeedSize:]), Ephemeral: point,
	})
	if err != nil {
		return nil, "", err
	}
	raw, err := b.proven(ctx, assistapi.PathBegin, body, proof)
	if err != nil {
		return nil, "", err
	}
	begun = new(assistapi.BeginAnswer)
	return begun, device, protocol.DecodeJSON(raw, begun)
}
