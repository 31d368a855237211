-- Encryption key pairs. wrapped = nonce | SM4-GCM(private key) under the key kek.
CREATE TABLE kmc_keys (
	id         TEXT   PRIMARY KEY,
	lineage    TEXT   NOT NULL,
	kek        TEXT   NOT NULL,
	spki       BYTEA  NOT NULL,
	wrapped    BYTEA  NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX kmc_keys_spki ON kmc_keys (spki);
CREATE INDEX kmc_keys_lineage ON kmc_keys (lineage);
