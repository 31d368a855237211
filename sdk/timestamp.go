package bidseal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/bidseal/bidseal/trust/timestamp"
)

const (
	// stampWait is the longest that a result waits for its timestamp. What comes
	// no sooner is added later by Timestamp.
	stampWait = time.Second
	// stampPause is how long an authority that gave none is left alone by results.
	stampPause = 30 * time.Second
	// stampSkew is how far the timestamp authority's clock may be behind.
	stampSkew = time.Minute
	// promptStamp is how long after the request's end a token still stands for the
	// result itself; a later one says only that the file existed then.
	promptStamp = 5 * time.Minute
)

// TimestampSource asks a timestamp authority.
type TimestampSource interface {
	// Timestamp sends a DER request (RFC 3161) and returns the DER response. The
	// client judges it.
	Timestamp(ctx context.Context, request []byte) ([]byte, error)
}

// HTTPTimestamps asks an authority by HTTP POST (RFC 3161 3.4).
type HTTPTimestamps struct {
	URL  string
	HTTP *http.Client
}

// Timestamp implements TimestampSource.
func (s HTTPTimestamps) Timestamp(ctx context.Context, request []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(request))
	if err != nil {
		return nil, fmt.Errorf("ask for a timestamp: %w", err)
	}
	req.Header.Set("Content-Type", "application/timestamp-query")
	resp, err := s.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for a timestamp: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for a timestamp: the authority answered %s", resp.Status)
	}
	der, err := io.ReadAll(io.LimitReader(resp.Body, timestamp.MaxResponse+1))
	if err != nil {
		return nil, fmt.Errorf("ask for a timestamp: %w", err)
	}
	return der, nil
}

// stamper gets tokens for evidence files.
type stamper struct {
	source  TimestampSource // nil for none
	anchors *trust.Store
	clock   func() time.Time // nil believes the authority's

	mu     sync.Mutex
	failed time.Time // when a result last got none
}

// stamp asks for a token over the file and judges it as a verifier will.
func (s *stamper) stamp(ctx context.Context, file *evidence) ([]byte, error) {
	imprint := file.imprint()
	nonce, request, err := timestamp.NewRequest(imprint)
	if err != nil {
		return nil, err
	}
	answer, err := s.source.Timestamp(ctx, request)
	if err != nil {
		return nil, err
	}
	token, err := timestamp.ReadResponse(answer)
	if err != nil {
		return nil, err
	}
	stamp, err := timestamp.Verify(token, timestamp.Options{Anchors: s.anchors, Imprint: imprint, Nonce: nonce})
	if err != nil {
		return nil, err
	}
	if s.clock == nil {
		return token, nil
	}
	if off := s.clock().Sub(stamp.Info.Time).Abs(); off > stampSkew {
		return nil, fmt.Errorf("the timestamp is off our clock by %v", off)
	}
	return token, nil
}

// prompt adds a token to the file of a result that waits for it, or leaves the
// file as it is: an authority that does not answer holds up no login.
func (s *stamper) prompt(ctx context.Context, file *evidence, log *slog.Logger) {
	if s.source == nil || s.pausing() {
		return
	}
	waiting, cancel := context.WithTimeout(ctx, stampWait)
	defer cancel()
	token, err := s.stamp(waiting, file)
	if err != nil {
		if ctx.Err() == nil {
			s.mu.Lock()
			s.failed = s.clock()
			s.mu.Unlock()
			log.LogAttrs(ctx, slog.LevelWarn, "evidence without a timestamp", slog.Any("error", err))
		}
		return
	}
	file.Timestamp = token
}

func (s *stamper) pausing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.failed.IsZero() && s.clock().Sub(s.failed) < stampPause
}

// Timestamp adds a token to an evidence file that has none, such as one of a
// login during which the authority could not be reached, and returns the new
// file. A file that has a token is returned as it is. Whether the rest of the
// file holds is not judged.
func (c *Client) Timestamp(ctx context.Context, file []byte) ([]byte, error) {
	return addTimestamp(ctx, c.stamps, file)
}

// AddTimestamp is Client.Timestamp for those who have the file, the anchors and
// a timestamp authority alone.
func (v Verifier) AddTimestamp(ctx context.Context, file []byte, source TimestampSource) ([]byte, error) {
	if v.Anchors == nil {
		return nil, errNoAnchors()
	}
	return addTimestamp(ctx, &stamper{source: source, anchors: v.Anchors}, file)
}

func addTimestamp(ctx context.Context, s *stamper, file []byte) ([]byte, error) {
	var parsed evidence
	if err := parsed.read(file); err != nil {
		return nil, &EvidenceError{Part: PartFile, Err: err}
	}
	if len(parsed.Timestamp) > 0 {
		return file, nil
	}
	if s.source == nil {
		return nil, errors.New("no timestamp authority is configured")
	}
	token, err := s.stamp(ctx, &parsed)
	if err != nil {
		return nil, err
	}
	parsed.Timestamp = token
	return protocol.EncodeJSON(parsed)
}

// TimestampReport is what a file's timestamp proves.
type TimestampReport struct {
	Time      time.Time `json:"time"`     // the file existed before it
	Accuracy  string    `json:"accuracy"` // of Time, to both sides
	Serial    string    `json:"serial"`   // upper-case hexadecimal
	Policy    string    `json:"policy"`
	Authority string    `json:"authority"` // name in its certificate
	// Late: the token was taken long after the result, so that it says only that
	// the file existed at Time.
	Late bool `json:"late"`
}

// checkTimestamp: the token is over everything else in the file, by an authority
// under the roots whose certificate was valid then, and not from before the
// signature.
func (x *examination) checkTimestamp() error {
	if len(x.file.Timestamp) == 0 {
		return nil
	}
	stamp, err := timestamp.Verify(x.file.Timestamp, timestamp.Options{Anchors: x.anchors, Imprint: x.file.imprint()})
	if err != nil {
		return err
	}
	if until := stamp.Until(); until.Before(time.Unix(x.statement.IAT, 0).Add(-stampSkew)) {
		return fmt.Errorf("of %s, before the signature", until.Format(time.RFC3339))
	}
	x.stamp = &TimestampReport{
		Time: stamp.Info.Time, Accuracy: stamp.Info.Accuracy.String(), Serial: trust.SerialHex(stamp.Info.Serial), Policy: stamp.Info.Policy.String(),
		Authority: stamp.Authority.Leaf().Subject.CommonName,
		Late:      stamp.Info.Time.After(time.Unix(x.request.EXP, 0).Add(promptStamp)),
	}
	return nil
}

// imprint is SM3(T(evidence) | every part in the order of SPEC.md, section 17).
func (e *evidence) imprint() timestamp.Imprint {
	w := imprintWriter(protocol.T(protocol.TagEvidence))
	w.bytes(e.Request)
	w.bytes(e.RequestSig)
	w.list(e.PlatformChain)
	w.bytes(e.PlatformOCSP)
	w.number(uint64(e.Claim.Seq))
	w.bytes(e.Claim.KEM)
	w.bytes(e.Claim.Box)
	w.bytes(e.Statement)
	w.bytes(e.StatementSig)
	w.list(e.SignerChain)
	w.bytes(e.SignerOCSP)
	w.number(uint64(len(e.Shown)))
	for _, line := range e.Shown {
		w.bytes([]byte(line))
	}
	w.bytes(e.Receipt.Bytes)
	w.bytes(e.Receipt.Signature)
	w.number(e.Promise.Index)
	w.bytes(e.Promise.Salt)
	w.bytes(e.Promise.Entry)
	w.bytes(e.Promise.Head)
	w.bytes(e.Promise.Signature)
	w.bytes(e.LedgerKey)
	return timestamp.SumSM3(w)
}

// imprintWriter writes numbers as u64, byte strings behind their length, and
// lists behind their count.
type imprintWriter []byte

func (w *imprintWriter) number(n uint64) { *w = binary.BigEndian.AppendUint64(*w, n) }

func (w *imprintWriter) bytes(b []byte) {
	w.number(uint64(len(b)))
	*w = append(*w, b...)
}

func (w *imprintWriter) list(all []protocol.Bytes) {
	w.number(uint64(len(all)))
	for _, b := range all {
		w.bytes(b)
	}
}
