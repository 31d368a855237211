package core

import (
	"context"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
)

// passMargin is how long before its end a pass is renewed.
const passMargin = 5 * time.Minute

// prove signs a call with the device key.
func (c *Core) prove(call *Call, pass string) error {
	proof, err := protocol.NewProof(c.device.key, pass, protocol.Call{Method: call.Method, URL: call.URL, Body: call.Body}, c.now())
	if err != nil {
		return err
	}
	if pass != "" {
		call.Header[protocol.HeaderPass] = pass
	}
	call.Header[protocol.HeaderProof] = proof
	return nil
}

// proven makes a call with the given pass, and repeats it once where the
// server's clock differs.
func (c *Core) proven(ctx context.Context, call Call, pass string) ([]byte, *protocol.Error) {
	head := func(call *Call) error { return c.prove(call, pass) }
	body, err := c.do(ctx, call, head)
	if err == nil || err.Code != protocol.CodeClockSkew {
		return body, err
	}
	if adjusted := c.adjust(err); adjusted != nil {
		return nil, classify(adjusted)
	}
	return c.do(ctx, call, head)
}

// relayCall makes a call to the relay as this phone and decodes the answer.
func (c *Core) relayCall(ctx context.Context, method, path string, body []byte, answer any) error {
	s, _, err := c.enrolled()
	if err != nil {
		return err
	}
	return c.passCall(ctx, s, Call{Method: method, URL: s.Relay + path, Body: body}, answer)
}

// passCall makes a call with the device's pass and decodes the answer.
func (c *Core) passCall(ctx context.Context, s *settings, call Call, answer any) error {
	pass, err := c.currentPass(ctx, s, false)
	if err != nil {
		return err
	}
	raw, refused := c.proven(ctx, call, pass)
	if refused != nil && refused.Code == protocol.CodeUnauthorized {
		// The server may see the pass as expired where the phone's clock does not.
		if pass, err = c.currentPass(ctx, s, true); err != nil {
			return err
		}
		raw, refused = c.proven(ctx, call, pass)
	}
	if refused != nil {
		return refused
	}
	return decode(raw, answer)
}

// decode reads an answer. Later versions of a server may say more.
func decode(raw []byte, answer any) error {
	if err := protocol.DecodeJSONOpen(raw, answer, nil); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// currentPass is the device pass, renewed where it is about to end or has to be.
func (c *Core) currentPass(ctx context.Context, s *settings, renew bool) (string, error) {
	c.mu.Lock()
	pass := c.pass
	c.mu.Unlock()
	p, err := protocol.ReadPass(pass)
	if err != nil {
		return "", err
	}
	if !renew && c.now().Add(passMargin).Unix() < p.EXP {
		return pass, nil
	}
	body, err := protocol.EncodeJSON(caapi.PassRequest{V: caapi.Version})
	if err != nil {
		return "", err
	}
	raw, refused := c.proven(ctx, Call{Method: "POST", URL: s.CA + caapi.PathPass, Body: body}, pass)
	if refused != nil {
		return "", refused
	}
	var answer caapi.PassAnswer
	if err := decode(raw, &answer); err != nil {
		return "", err
	}
	return answer.Pass, c.keepPass(ctx, answer.Pass)
}

// keepPass stores a pass that names this device.
func (c *Core) keepPass(ctx context.Context, pass string) error {
	p, err := protocol.ReadPass(pass)
	if err != nil {
		return err
	}
	if p.Device != c.device.id {
		return protocol.Errorf(protocol.CodeUnauthorized, "the pass is for another device")
	}
	if err := c.opt.Files.Write(ctx, passFile, []byte(pass)); err != nil {
		return fmt.Errorf("device pass: %w", err)
	}
	c.mu.Lock()
	c.pass = pass
	c.mu.Unlock()
	return nil
}
