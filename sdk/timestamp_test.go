package bidseal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
	"github.com/bidseal/bidseal/trust"
	"github.com/bidseal/bidseal/trust/timestamp"
)

// signIn completes one login and gives its evidence.
func signIn(t *testing.T, env *sdktest.Env, client *bidseal.Client) []byte {
	t.Helper()
	ch, err := client.Login(t.Context(), bidseal.LoginOptions{})
	must(t, err)
	must(t, env.Phone("张三").Approve(t.Context(), ch.Payload()))
	login, err := ch.Wait(t.Context())
	must(t, err)
	return login.Evidence
}

func verifierOf(t testing.TB, env *sdktest.Env) bidseal.Verifier {
	t.Helper()
	anchors, err := env.Authority.Anchors()
	must(t, err)
	return bidseal.Verifier{Anchors: anchors}
}

func TestEvidenceHasATimestamp(t *testing.T) {
	env := sdktest.New(t)
	report, err := verifierOf(t, env).VerifyEvidence(signIn(t, env, env.Client()))
	must(t, err)
	stamp := report.Timestamp
	if stamp == nil || stamp.Late || stamp.Authority != "sdktest timestamps" || stamp.Serial == "" || env.Clock.Now().Sub(stamp.Time).Abs() > time.Minute {
		t.Errorf("%+v", stamp)
	}
}

// deafTSA never answers.
type deafTSA struct{}

func (deafTSA) Timestamp(ctx context.Context, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestLoginWithoutATimestamp: an authority that is down, deaf, or talks nonsense
// costs the evidence its token and nothing else; the file gets one later.
func TestLoginWithoutATimestamp(t *testing.T) {
	stranger, err := sdktest.NewAuthority(time.Now)
	must(t, err)
	for name, source := range map[string]bidseal.TimestampSource{
		"deaf": deafTSA{}, "nonsense": answerTSA([]byte("?")), "refusal": answerTSA(refusal(t)), "another's": stranger,
	} {
		t.Run(name, func(t *testing.T) {
			env := sdktest.New(t)
			client := env.Client(func(c *bidseal.Config) { c.TSA = source })
			file := signIn(t, env, client)
			report, err := verifierOf(t, env).VerifyEvidence(file)
			must(t, err)
			if report.Timestamp != nil {
				t.Errorf("%+v", report.Timestamp)
			}
			later, err := verifierOf(t, env).AddTimestamp(t.Context(), file, env.Authority)
			must(t, err)
			report, err = verifierOf(t, env).VerifyEvidence(later)
			must(t, err)
			if report.Timestamp == nil || report.Timestamp.Late {
				t.Errorf("%+v", report.Timestamp)
			}
		})
	}
}

type answerTSA []byte

func (a answerTSA) Timestamp(context.Context, []byte) ([]byte, error) { return a, nil }

func refusal(t *testing.T) []byte {
	t.Helper()
	der, err := (&timestamp.Rejection{Failure: timestamp.TimeNotAvailable, Text: "why"}).Response()
	must(t, err)
	return der
}

// TestTimestampLater: the same client, once the authority is back; a token that
// came long after the result says so.
func TestTimestampLater(t *testing.T) {
	env := sdktest.New(t)
	client := env.Client()
	env.Authority.SetTimestampsDown(true)
	file := signIn(t, env, client)
	if _, err := client.Timestamp(t.Context(), file); err == nil {
		t.Error("a token from nowhere")
	}
	env.Authority.SetTimestampsDown(false)
	env.Advance(24 * time.Hour)
	later, err := client.Timestamp(t.Context(), file)
	must(t, err)
	report, err := verifierOf(t, env).VerifyEvidence(later)
	must(t, err)
	if report.Timestamp == nil || !report.Timestamp.Late {
		t.Errorf("%+v", report.Timestamp)
	}
	again, err := client.Timestamp(t.Context(), later)
	must(t, err)
	if !bytes.Equal(again, later) {
		t.Error("a file that has a token got another")
	}
	var refused *bidseal.EvidenceError
	if _, err := client.Timestamp(t.Context(), []byte("{}")); !errors.As(err, &refused) || refused.Part != bidseal.PartFile {
		t.Errorf("no file: %v", err)
	}
}

// TestTimestampNamesItsFault: each way in which a good token does not belong here
// is told apart.
func TestTimestampNamesItsFault(t *testing.T) {
	env := sdktest.New(t)
	client := env.Client()
	var file, other map[string]any
	must(t, json.Unmarshal(signIn(t, env, client), &file))
	must(t, json.Unmarshal(signIn(t, env, client), &other))
	file["timestamp"] = other["timestamp"]
	raw, err := json.Marshal(file)
	must(t, err)
	_, err = verifierOf(t, env).VerifyEvidence(raw)
	var refused *bidseal.EvidenceError
	if !errors.As(err, &refused) || refused.Part != bidseal.PartTimestamp || !errors.Is(err, timestamp.ErrImprint) {
		t.Errorf("the token of another file: %v", err)
	}

	// An authority under another root of the verifier's is believed, one under no root is not.
	stranger, err := sdktest.NewAuthority(env.Clock.Now)
	must(t, err)
	delete(file, "timestamp")
	raw, err = json.Marshal(file)
	must(t, err)
	anchors, err := trust.NewStore(trust.DocumentationAuthority(env.Authority.Root(), stranger.Root()))
	must(t, err)
	both := bidseal.Verifier{Anchors: anchors}
	foreign, err := both.AddTimestamp(t.Context(), raw, stranger)
	must(t, err)
	_, err = both.VerifyEvidence(foreign)
	must(t, err)
	_, err = verifierOf(t, env).VerifyEvidence(foreign)
	if !errors.As(err, &refused) || refused.Part != bidseal.PartTimestamp || !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("an authority under no root: %v", err)
	}

	// A token from before the signature cannot be over it: its clock was wrong.
	slow, err := sdktest.NewAuthority(func() time.Time { return env.Clock.Now().Add(-time.Hour) })
	must(t, err)
	both.Anchors, err = trust.NewStore(trust.DocumentationAuthority(env.Authority.Root(), stranger.Root(), slow.Root()))
	must(t, err)
	early, err := both.AddTimestamp(t.Context(), raw, slow)
	must(t, err)
	_, err = both.VerifyEvidence(early)
	if !errors.As(err, &refused) || refused.Part != bidseal.PartTimestamp {
		t.Errorf("a token from before the signature: %v", err)
	}
}

func TestHTTPTimestamps(t *testing.T) {
	env := sdktest.New(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/timestamp-query" {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		answer, err := env.Authority.Timestamp(r.Context(), body)
		if err != nil {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/timestamp-reply")
		if _, err := w.Write(answer); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	client := env.Client(func(c *bidseal.Config) { c.TSA, c.TSAURL = nil, server.URL })
	report, err := verifierOf(t, env).VerifyEvidence(signIn(t, env, client))
	must(t, err)
	if report.Timestamp == nil {
		t.Error("no timestamp")
	}
	env.Authority.SetTimestampsDown(true)
	if _, err := (bidseal.HTTPTimestamps{URL: server.URL, HTTP: http.DefaultClient}).Timestamp(t.Context(), nil); err == nil {
		t.Error("503 is no answer")
	}
}
