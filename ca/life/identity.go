package life

import (
	"encoding/hex"
	"fmt"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// identityForm is how certificates of a profile show identity numbers.
func (l *Life) identityForm(profile issuance.Name) issuance.IdentityForm {
	if profile == issuance.OrganisationSigning || profile == issuance.OrganisationEncryption {
		return l.organisation
	}
	return l.person
}

// identityText brings a person's identity number into the form in which
// certificates show it, as text; empty where there is no number or they show none.
// The number is not kept. The same number gives the same text for as long as the
// authority lives.
func (l *Life) identityText(kind, number string) (string, error) {
	if number == "" {
		return "", nil
	}
	profile := issuance.PersonSigning
	if kind == string(trust.Organisation) {
		profile = issuance.OrganisationSigning
	}
	mark, err := issuance.MarkIdentity(l.identityForm(profile), l.identityKey, number)
	if err != nil {
		return "", protocol.Errorf(protocol.CodeMalformed, "identity number: %v", err)
	}
	if mark.Form == issuance.IdentityHashed {
		return hex.EncodeToString(mark.Value), nil
	}
	return string(mark.Value), nil
}

// identityMark reads what identityText wrote.
func (l *Life) identityMark(profile issuance.Name, text string) (issuance.IdentityMark, error) {
	if text == "" {
		return issuance.IdentityMark{}, nil
	}
	mark := issuance.IdentityMark{Form: l.identityForm(profile), Value: []byte(text)}
	if mark.Form == issuance.IdentityHashed {
		var err error
		if mark.Value, err = hex.DecodeString(text); err != nil {
			return mark, fmt.Errorf("stored identity: %w", err)
		}
	}
	return mark, nil
}
