package ca

import "github.com/bidseal/bidseal/ca/issuance"

// MarkIdentity brings a person's identity number into the form in which
// certificates of a profile show it; zero where they show none. The number is
// not kept. The same number gives the same mark for as long as the authority
// lives.
func (a *Authority) MarkIdentity(profile issuance.Name, number string) (issuance.IdentityMark, error) {
	form := a.config.PersonIdentity
	if profile == issuance.OrganisationSigning || profile == issuance.OrganisationEncryption {
		form = a.config.OrganisationIdentity
	}
	return issuance.MarkIdentity(form, a.identityKey, number)
}
