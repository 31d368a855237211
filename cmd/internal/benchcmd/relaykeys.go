package benchcmd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/bidseal/bidseal/internal/bench"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// benchKeys are the real keys of a run: root, issuing authority, a user's
// certificate and a device with its pass.
type benchKeys struct {
	root, issuing *smx509.Certificate
	issuingKey    *sm2.PrivateKey
	passKey       *sm2.PrivateKey
	user          *sm2.PrivateKey
	phone         benchPhone
	account       string
}

func newBenchKeys() (*benchKeys, error) {
	k := &benchKeys{account: "bench"}
	var rootKey *sm2.PrivateKey
	for _, to := range []**sm2.PrivateKey{&rootKey, &k.issuingKey, &k.passKey, &k.user} {
		var err error
		if *to, err = newBenchKey(); err != nil {
			return nil, err
		}
	}
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // as the phone core makes it
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	if k.root, err = benchAuthority("root", nil, rootKey, rootKey); err != nil {
		return nil, err
	}
	if k.issuing, err = benchAuthority("issuing", k.root, k.issuingKey, rootKey); err != nil {
		return nil, err
	}
	k.phone = benchPhone{device: device, signer: k.user}
	if k.phone.chain, err = k.issue(1); err != nil {
		return nil, err
	}
	return k, k.newPass()
}

func (k *benchKeys) newPass() error {
	spki, err := protocol.MarshalKey(k.phone.device.Public())
	if err != nil {
		return err
	}
	alg, err := protocol.AlgOf(k.phone.device.Public())
	if err != nil {
		return err
	}
	now := time.Now()
	k.phone.pass, err = protocol.IssuePass(k.passKey, protocol.Pass{V: protocol.Version, Iss: "bench", Device: protocol.DeviceID(spki), Alg: alg, Key: spki,
		Account: k.account, IAT: now.Unix() - 1, EXP: now.Add(protocol.MaxPassLife).Unix() - 1})
	return err
}

func (k *benchKeys) deviceID() (string, error) {
	spki, err := protocol.MarshalKey(k.phone.device.Public())
	return protocol.DeviceID(spki), err
}

func (k *benchKeys) trust() (benchTrust, error) {
	spki, err := protocol.MarshalKey(k.passKey.Public())
	return benchTrust{Root: k.root.Raw, PassKey: spki}, err
}

func benchAuthority(name string, parent *smx509.Certificate, key, signer *sm2.PrivateKey) (*smx509.Certificate, error) {
	now := time.Now()
	c := &smx509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, SubjectKeyId: []byte(name),
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(48 * time.Hour), BasicConstraintsValid: true, IsCA: true,
		KeyUsage: smx509.KeyUsageCertSign | smx509.KeyUsageCRLSign}
	if parent == nil {
		parent = c
	}
	der, err := smx509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("certificate of the %s: %w", name, err)
	}
	cert, err := smx509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate of the %s: %w", name, err)
	}
	return cert, nil
}

// issue makes a certificate of the user's key and returns its chain, leaf first.
func (k *benchKeys) issue(serial int64) ([]protocol.Bytes, error) {
	now := time.Now()
	c := &smx509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "bench"}, SubjectKeyId: []byte("user"),
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: smx509.KeyUsageDigitalSignature | smx509.KeyUsageContentCommitment}
	der, err := smx509.CreateCertificate(rand.Reader, c, k.issuing, k.user.Public(), k.issuingKey)
	if err != nil {
		return nil, fmt.Errorf("certificate of the user: %w", err)
	}
	return []protocol.Bytes{der, k.issuing.Raw}, nil
}

// sealedSize is the box of a login's result with its chain, in bytes.
const sealedSize = 3000

// completion is the call by which a phone completes challenge i.
func (k *benchKeys) completion(ctx context.Context, url string, i int, chain []protocol.Bytes, device string) (*http.Request, error) {
	w := benchWatch(i)
	kem, err := protocol.Random(140)
	if err != nil {
		return nil, err
	}
	box, err := protocol.Random(sealedSize)
	if err != nil {
		return nil, err
	}
	receipt, err := protocol.SignReceipt(k.user, protocol.TagReceipt, protocol.Receipt{V: protocol.Version, CID: w.CID, Kind: benchTerms().Kind, Platform: benchPlatform,
		Cert: protocol.H(chain[0]), Device: device, ClaimSeq: 1, Result: protocol.ResultDigest(w.CID, 1, kem, box), NOK: 1, IAT: time.Now().Unix()}, chain)
	if err != nil {
		return nil, err
	}
	return k.call(ctx, url, protocol.ResultBody{ClaimSeq: 1, KEM: kem, Box: box, Receipt: *receipt})
}

// call is a phone's call with pass and proof.
func (k *benchKeys) call(ctx context.Context, url string, body any) (*http.Request, error) {
	raw, err := protocol.EncodeJSON(body)
	if err != nil {
		return nil, err
	}
	proof, err := protocol.NewProof(k.phone.device, k.phone.pass, protocol.Call{Method: http.MethodPost, URL: url, Body: raw}, time.Now())
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("call: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(protocol.HeaderPass, k.phone.pass)
	req.Header.Set(protocol.HeaderProof, proof)
	return req, nil
}

// claims is the publisher that claims challenges as phones do, each once.
func (k *benchKeys) claims(client *http.Client, addr string) publisher {
	return func(o openLoopOrder) (func(context.Context, time.Time) error, error) {
		return func(ctx context.Context, start time.Time) error {
			var calls group
			err := bench.Pace(ctx, start, o.rate, o.count, func(i int) error {
				calls.run(func() error { return k.claim(ctx, client, addr, i) })
				return calls.err()
			})
			return errors.Join(err, calls.wait())
		}, nil
	}
}

func (k *benchKeys) claim(ctx context.Context, client *http.Client, addr string, i int) error {
	w := benchWatch(i)
	req, err := k.call(ctx, "http://"+addr+"/v1/challenges/"+w.CID.String()+"/claim", protocol.ClaimBody{KClaim: benchClaimKey(i), ClaimID: w.Watch})
	if err != nil {
		return err
	}
	return send(client, req)
}

// send makes a call whose answer has to be 200.
func send(client *http.Client, req *http.Request) error {
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("call: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("call %s: %w", req.URL.Path, httpapi.DecodeResponse(resp, nil))
	}
	return drainBody(resp.Body)
}
