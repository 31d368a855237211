-- Since when a revoked certificate's key is thought to be in other hands, Unix seconds (RFC 5280 5.3.2); 0 for unknown.
ALTER TABLE ca_certificates ADD COLUMN invalid_at BIGINT NOT NULL DEFAULT 0;
-- What a list lacks.
CREATE INDEX ca_certificates_revision ON ca_certificates (issuer, revision);
