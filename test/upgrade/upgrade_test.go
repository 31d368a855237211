package upgrade_test

import (
	"bytes"
	"net/http"
	"os"
	"testing"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/internal/callsig"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	sdksql "github.com/bidseal/bidseal/sdk/sqlstore"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

// TestPhoneSignsIn: a phone of the archive scans a new code, on a relay whose ledger goes on.
func TestPhoneSignsIn(t *testing.T) {
	w := newWorld(t)
	before := w.ledger(nil)
	if before.Entries != 3 {
		t.Fatalf("the ledger has %d entries, want 3", before.Entries)
	}
	client, phone := w.client(w.config()), w.phone("phone-zhang")
	none := protocol.MatchNone
	ch, err := client.Login(t.Context(), bidseal.LoginOptions{Static: true, Match: &none})
	w.must(err)
	s, err := phone.Scan(t.Context(), ch.Payload())
	w.must(err)
	if got := s.Review().Familiarity; got != core.Known {
		t.Errorf("the platform is %s, want known", got)
	}
	w.approve(phone, ch.Payload(), "")
	w.wantLogin(ch, "张三")
	if after := w.ledger(&before.Head); after.Entries != 4 {
		t.Errorf("the ledger has %d entries, want 4", after.Entries)
	}
	records, err := phone.UsageRecords(t.Context())
	w.must(err)
	if len(records) != 4 {
		t.Errorf("the phone has %d records, want 4", len(records))
	}
	// a device that was denied and a certificate that was revoked stay so
	denied, err := w.store.Denied(t.Context(), w.phone("phone-revoked").Device())
	w.must(err)
	if !denied {
		t.Error("the denied device is not denied any more")
	}
	certs, err := w.keystore("phone-revoked").Certificates(t.Context())
	w.must(err)
	for _, c := range certs {
		cert, err := trust.ParseCertificate(c.Chain[0])
		w.must(err)
		question, err := trust.NewOCSPRequest(cert, w.authority.Status.Current().Certificate(), nil)
		w.must(err)
		answer, err := w.authority.Life.OCSP(t.Context(), question)
		w.must(err)
		status, err := trust.VerifyOCSP(answer.DER, cert, w.authority.Status.Current().Certificate(), trust.OCSPOptions{Now: w.now})
		w.must(err)
		if status.State != trust.Revoked {
			t.Errorf("certificate %s is %v", c.ID, status.State)
		}
	}
}

// operator makes calls with the key of an operator of the archive.
type operator struct {
	w      *world
	key    *sm2.PrivateKey
	serial string
}

func (w *world) operator(name string) operator {
	w.t.Helper()
	var cert caapi.OperatorCertificate
	w.readJSON("operators/"+name+".json", &cert)
	return operator{w, w.key("operators/" + name + ".pem").(*sm2.PrivateKey), cert.Serial}
}

func (o operator) call(method, path string, v, answer any) {
	w := o.w
	w.t.Helper()
	var body []byte
	var err error
	if v != nil {
		body, err = protocol.EncodeJSON(v)
		w.must(err)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, authorityURL+path, bytes.NewReader(body))
	w.must(err)
	w.must(callsig.SignSM2(req, o.key, o.serial, w.now))
	res, err := w.http.Do(req)
	w.must(err)
	defer res.Body.Close()
	var raw bytes.Buffer
	_, err = raw.ReadFrom(res.Body)
	w.must(err)
	if res.StatusCode != http.StatusOK {
		w.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, raw.Bytes())
	}
	w.must(protocol.DecodeJSON(raw.Bytes(), answer))
}

// enrol enrols a phone, with the relay and app that the generator's phones have.
func (w *world) enrol(phone *core.Core, file *caapi.EnrolmentFile) {
	w.t.Helper()
	_, err := phone.Enrol(w.t.Context(), file, core.Setup{Relay: relayOrigin, AppOrigins: []string{appOrigin}}, []byte(password))
	w.must(err)
	w.serials(phone)
}

// TestAuthorityIssues: the authority's log verifies, and everything that was under way ends in certificates.
func TestAuthorityIssues(t *testing.T) {
	w := newWorld(t)
	before, err := w.authority.Audit.Verify(t.Context())
	w.must(err)
	if before.Revocations != 3 {
		t.Errorf("%d revocations, want 3: two certificates of a holder, one of an operator", before.Revocations)
	}
	t.Run("unused code", func(t *testing.T) {
		w.t = t
		var code caapi.EnrolmentFile
		w.readJSON("code-unused.json", &code)
		w.enrol(w.phone("phone-new"), &code)
	})
	t.Run("answer that was lost", func(t *testing.T) {
		w.t = t
		var code caapi.EnrolmentFile
		w.readJSON("code-half.json", &code)
		w.enrol(w.phone("phone-half"), &code)
	})
	t.Run("new code", func(t *testing.T) {
		w.t = t
		code, err := w.authority.Life.NewEnrolmentCode(t.Context(), audit.Local("test"), life.CodeRequest{Subject: caapi.Subject{Kind: string(trust.Person), Name: "蒋十二"}})
		w.must(err)
		w.enrol(w.phone("phone-another"), code)
	})
	t.Run("applications", func(t *testing.T) {
		w.t = t
		registration, approval := w.operator("registration"), w.operator("approval")
		waiting := caapi.PathOperatorApplications + "/" + w.notes["application_waiting"]
		var list caapi.ApplicationList
		approval.call(http.MethodGet, caapi.PathOperatorApplications+"?state=pending", nil, &list)
		if len(list.Applications) != 1 || list.Applications[0].ID != w.notes["application_waiting"] {
			t.Fatalf("waiting applications: %+v", list)
		}
		var info caapi.ApplicationInfo
		approval.call(http.MethodPost, waiting+"/approve", caapi.Decision{V: caapi.Version, Digest: list.Applications[0].Digest}, &info)
		for name, path := range map[string]string{
			"phone-approved": caapi.PathOperatorApplications + "/" + w.notes["application_approved"],
			"phone-waiting":  waiting,
		} {
			var code caapi.EnrolmentFile
			registration.call(http.MethodPost, path+"/code", nil, &code)
			w.enrol(w.phone(name), &code)
		}
	})
	t.Run("platform", func(t *testing.T) {
		w.t = t
		var application struct {
			CA string `json:"ca"`
			ID string `json:"id"`
		}
		w.readJSON("platform-waiting/application.json", &application)
		registered, err := w.authority.Registry.ApprovePlatform(t.Context(), audit.Local("test"), registry.PlatformApproval{ID: application.ID})
		w.must(err)
		if len(registered.Chain) == 0 || registered.Name != "另一个交易平台" {
			t.Errorf("registration %+v", registered)
		}
	})
	w.t = t
	after, err := w.authority.Audit.Verify(t.Context(), before.Head)
	w.must(err)
	if want := before.Certificates + 4*2 + 1; after.Certificates != want {
		t.Errorf("the log has %d certificates, want %d", after.Certificates, want)
	}
}

// TestOpenChallengesEnd: what the SDK's stores held open ends with a verified result.
func TestOpenChallengesEnd(t *testing.T) {
	t.Run("file store", func(t *testing.T) {
		w := newWorld(t)
		client := w.client(w.config())
		w.wantLogin(w.challenge(client, "file_uncollected"), "张三")

		li := w.phone("phone-li")
		deliveries, err := li.Resume(t.Context())
		w.must(err)
		if len(deliveries) != 1 || deliveries[0].Err != nil {
			t.Fatalf("deliveries: %+v", deliveries)
		}
		w.wantLogin(w.challenge(client, "file_undelivered"), "李四")

		ch := w.challenge(client, "file_open")
		w.approve(w.phone("phone-zhang"), ch.Payload(), "")
		w.wantLogin(ch, "张三")
		w.ledger(nil)
	})
	t.Run("sql store", func(t *testing.T) {
		w := newWorld(t)
		config := w.config()
		store, err := sdksql.Open(t.Context(), sdksql.Config{Location: w.path("sdk", "sdk.db")})
		w.must(err)
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		config.Store = store
		client := w.client(config)

		ch := w.challenge(client, "sql_digits")
		event := <-ch.Events()
		if event.State != bidseal.StateConfirm {
			t.Fatalf("the challenge is %s, want confirm", event.State)
		}
		w.approve(w.phone("phone-li"), ch.Payload(), event.Digits)
		w.wantLogin(ch, "李四")

		ch = w.challenge(client, "sql_open")
		w.approve(w.phone("phone-zhang"), ch.Payload(), "")
		w.wantLogin(ch, "张三")
		w.ledger(nil)
	})
}

// TestEvidenceVerifies: a file of the archive still proves what it proved.
func TestEvidenceVerifies(t *testing.T) {
	w := newWorld(t)
	file, err := os.ReadFile(w.path("evidence.json"))
	w.must(err)
	report, err := bidseal.Verifier{Anchors: w.anchors()}.VerifyEvidence(file)
	w.must(err)
	if report.Holder.Person != "张三" || report.Timestamp == nil {
		t.Errorf("%+v", report)
	}
}
