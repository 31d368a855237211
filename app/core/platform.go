package core

import (
	"errors"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// maxPlatformStatus is the oldest OCSP answer about a platform's certificate
// that is believed; for a decryption it is shorter.
const (
	maxPlatformStatus = 24 * time.Hour
	maxDecryptStatus  = 10 * time.Minute
)

// serverSkew is how far the clocks of authority and platform may be from the
// phone's corrected one.
const serverSkew = protocol.MaxSkew

// platform is the verified asker of a request.
type platform struct {
	identity trust.Identity
	root     []byte // SM3 of the anchor
}

// verifyPlatform judges who signed the request: signature, chain, status,
// and that request and certificate name the same platform and key.
func verifyPlatform(o *protocol.OpenedRequest, roots *trust.Store, now time.Time) (*platform, error) {
	chain, err := trust.ParseChain(asSlices(o.Sealed.Chain))
	if err != nil {
		return nil, protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	if err := protocol.VerifyRequest(chain[0].PublicKey, o.Sealed.Request, o.Sealed.Signature); err != nil {
		return nil, err
	}
	verified, err := roots.Verify(chain, trust.VerifyOptions{Time: now, Usage: trust.PlatformRequest, Operation: trust.Operation(o.Request.Kind)})
	if err != nil {
		return nil, protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	if err := checkPlatformStatus(o, verified, now); err != nil {
		return nil, err
	}
	identity, err := trust.ReadIdentity(verified)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	if identity.PlatformID != o.Request.Platform {
		return nil, protocol.Errorf(protocol.CodePlatformUntrusted, "the certificate is of another platform than the request")
	}
	if !protocol.Equal(protocol.KeyID(chain[0].RawSubjectPublicKeyInfo), o.Request.Key) {
		return nil, protocol.Errorf(protocol.CodePlatformUntrusted, "the request names another key than the certificate")
	}
	root := trust.Digest(verified.Anchor)
	return &platform{identity: identity, root: root[:]}, nil
}

func checkPlatformStatus(o *protocol.OpenedRequest, v *trust.Verified, now time.Time) error {
	opts := trust.OCSPOptions{Now: now, MaxAge: maxPlatformStatus, AllowPastNextUpdate: true, Skew: serverSkew}
	if o.Request.Kind == protocol.KindDecrypt {
		opts.MaxAge = maxDecryptStatus
	}
	status, err := trust.VerifyOCSP(o.Sealed.OCSP, v.Leaf(), v.Issuer(), opts)
	if err == nil {
		err = status.Err()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, trust.ErrRevoked):
		return protocol.Errorf(protocol.CodePlatformRevoked, "%v", err)
	}
	return protocol.Errorf(protocol.CodeStatusStale, "%v", err)
}

// checkTime holds the request's dates against the corrected clock.
func checkTime(r *protocol.Request, now time.Time) error {
	switch t := now.Unix(); {
	case t > r.EXP:
		return protocol.Errorf(protocol.CodeExpired, "the request ended at %d", r.EXP)
	case t < r.IAT-int64(serverSkew/time.Second):
		return protocol.Errorf(protocol.CodeRequestInvalid, "the request is dated in the future")
	}
	return nil
}
