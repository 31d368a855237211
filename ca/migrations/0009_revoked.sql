-- All that a revocation list is made of, in its order: without this the authority reads every certificate that it ever issued.
CREATE INDEX ca_certificates_revoked ON ca_certificates (issuer, revision, serial, revoked_at, reason, invalid_at, not_after) WHERE state = 'revoked';
