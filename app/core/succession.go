package core

import (
	"context"
	"slices"
	"strings"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// maxHistory bounds the earlier encryption certificates of an answer.
const maxHistory = 256

// operation is what a code is for.
func operation(f *caapi.EnrolmentFile) string {
	if f.Operation == "" {
		return caapi.OperationNew
	}
	return f.Operation
}

// checkOperation refuses a file for something that this phone cannot do. A file
// for a certificate that exists names its lineage: the answer is held to it.
func checkOperation(f *caapi.EnrolmentFile) error {
	switch operation(f) {
	case caapi.OperationNew:
		return nil
	case caapi.OperationRenew, caapi.OperationChange, caapi.OperationReissue:
		if f.Lineage == "" || f.Serial == "" {
			return protocol.Errorf(protocol.CodeEnrolmentCode, "enrolment file names no certificate")
		}
		return nil
	}
	return protocol.Errorf(protocol.CodeEnrolmentCode, "enrolment file is for %.20q", f.Operation)
}

// proveSuccession has the old signing key sign a request for renewal or change:
// only the phone that holds a certificate can ask for the next one.
func (c *Core) proveSuccession(ctx context.Context, file *caapi.EnrolmentFile, request *caapi.EnrolRequest, password []byte) error {
	if op := operation(file); op != caapi.OperationRenew && op != caapi.OperationChange {
		return nil
	}
	own, err := c.heldBy(ctx, func(own Certificate) bool {
		return own.Use == keys.Sign && own.Current && own.Serial == file.Serial && own.Identity.Lineage == file.Lineage
	})
	if err != nil {
		return err
	}
	if len(own) == 0 {
		return protocol.Errorf(protocol.CodeNoCertificate, "this phone does not hold the certificate that the code is for")
	}
	request.Predecessor = file.Serial
	return c.opt.Keys.Use(ctx, password, func(signer keys.Signer) error {
		var err error
		request.Succession, err = signer.Sign(own[0].ID, keys.Succession(request))
		return err
	})
}

// heldBy are the phone's own certificates that fit; none before it is enrolled.
func (c *Core) heldBy(ctx context.Context, fits func(Certificate) bool) ([]Certificate, error) {
	all, err := c.Certificates(ctx)
	if protocol.CodeOf(err) == protocol.CodeNotEnrolled {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(own Certificate) bool { return !fits(own) }), nil
}

// judgeSuccession holds a new signing certificate against the one that it
// follows: the lineage that the file names, and where the phone holds an earlier
// one of it, the same authority and organisation.
func (c *Core) judgeSuccession(ctx context.Context, file *caapi.EnrolmentFile, next *Certificate) error {
	if operation(file) == caapi.OperationNew {
		return nil
	}
	if !strings.EqualFold(next.Identity.Lineage, file.Lineage) {
		return protocol.Errorf(protocol.CodeCertUntrusted, "the authority's answer is of another lineage than the enrolment file")
	}
	before, err := c.heldBy(ctx, func(own Certificate) bool {
		return own.Identity.Lineage == next.Identity.Lineage && own.Identity.CreditCode != next.Identity.CreditCode
	})
	if err == nil && len(before) > 0 {
		err = protocol.Errorf(protocol.CodeCertUntrusted, "the authority's answer is for another organisation than the certificate before")
	}
	return err
}

// superseded are the certificates of this phone that a new pair takes the place
// of: every other one of its lineage.
func (c *Core) superseded(ctx context.Context, fresh []Certificate) ([]string, error) {
	before, err := c.heldBy(ctx, func(own Certificate) bool {
		return own.Identity.Lineage == fresh[0].Identity.Lineage && !slices.ContainsFunc(fresh[:2], func(f Certificate) bool { return f.ID == own.ID })
	})
	ids := make([]string, 0, len(before))
	for _, own := range before {
		ids = append(ids, own.ID)
	}
	return ids, err
}

// asHistory bounds and converts what a reissue brings.
func asHistory(all []caapi.EncryptionKey) ([]keys.HistoricKey, error) {
	var out []keys.HistoricKey
	total := 0
	for _, key := range all {
		h := keys.HistoricKey{Enveloped: key.Enveloped}
		for _, chain := range key.Chains {
			if total++; total > maxHistory || len(chain) == 0 || len(chain) > trust.MaxChainLength {
				return nil, errResponse("history")
			}
			h.Chains = append(h.Chains, asSlices(chain))
		}
		if len(h.Chains) == 0 {
			return nil, errResponse("history")
		}
		out = append(out, h)
	}
	return out, nil
}

// judgeHistory verifies the earlier encryption certificates to the same roots
// and lineage. They may have expired: what was encrypted for them has not.
func (c *Core) judgeHistory(roots *trust.Store, all []keys.HistoricKey, current *Certificate) ([]Certificate, error) {
	var out []Certificate
	for _, h := range all {
		for _, chain := range h.Chains {
			own := c.judge(roots, keys.Certificate{ID: keys.CertificateID(chain[0]), Use: keys.Encrypt, Chain: chain})
			if own.Problem != "" && own.Problem != protocol.CodeCertExpired {
				return nil, protocol.Errorf(own.Problem, "the authority's answer holds a historic certificate that does not verify")
			}
			if own.Identity.Lineage != current.Identity.Lineage {
				return nil, protocol.Errorf(protocol.CodeCertUntrusted, "the authority's answer holds a historic certificate of somebody else")
			}
			out = append(out, own)
		}
	}
	return out, nil
}

// Unwrap opens a key that was wrapped for one of the phone's encryption
// certificates, a historic one too, for a file that its owner has on this
// device. The password is used for this one key; the caller wipes it and what it
// gets. Errors: no_certificate, unwrap_failed, password_wrong, password_locked.
func (c *Core) Unwrap(ctx context.Context, to keys.Recipient, ciphertext, password []byte) ([]byte, error) {
	cert, err := c.opt.Keys.Find(ctx, to)
	if err != nil {
		return nil, classify(err)
	}
	var plain []byte
	err = c.opt.Keys.Use(ctx, password, func(signer keys.Signer) error {
		opener, ok := signer.(keys.Opener)
		if !ok {
			return protocol.Errorf(protocol.CodeUnwrapFailed, "the keys of this phone do not decrypt")
		}
		var err error
		plain, err = opener.Open(cert.ID, ciphertext)
		return err
	})
	return plain, result(err)
}
