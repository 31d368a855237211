-- The life of a certificate after the first one.

-- One row for each lineage: the chain of certificates of one holder. It moves by
-- compare-and-swap on head and pending, nowhere else.
CREATE TABLE ca_lineages (
	lineage TEXT PRIMARY KEY,
	head    TEXT NOT NULL,                 -- serial number of the newest signing certificate, '' before the first
	pending TEXT NOT NULL,                 -- ca_issuances.id that is under way, or ''
	device  TEXT NOT NULL                  -- ca_devices.id of the phone that holds the head
);
CREATE INDEX ca_lineages_device ON ca_lineages (device);

ALTER TABLE ca_issuances ADD COLUMN operation TEXT NOT NULL DEFAULT 'new';     -- new | renew | change | reissue
ALTER TABLE ca_issuances ADD COLUMN predecessor TEXT NOT NULL DEFAULT '';      -- serial number of the signing certificate before
ALTER TABLE ca_issuances ADD COLUMN device TEXT NOT NULL DEFAULT '';           -- ca_devices.id
ALTER TABLE ca_issuances ADD COLUMN reason BIGINT NOT NULL DEFAULT 0;          -- for which those before are revoked
ALTER TABLE ca_issuances ADD COLUMN refusal_code TEXT NOT NULL DEFAULT 'lint_failed';
CREATE INDEX ca_issuances_lineage ON ca_issuances (lineage);
CREATE INDEX ca_issuances_sign_serial ON ca_issuances (sign_serial);
CREATE INDEX ca_issuances_device ON ca_issuances (device, state);

ALTER TABLE ca_codes ADD COLUMN kind TEXT NOT NULL DEFAULT 'new';
ALTER TABLE ca_codes ADD COLUMN lineage TEXT NOT NULL DEFAULT '';
ALTER TABLE ca_codes ADD COLUMN predecessor TEXT NOT NULL DEFAULT '';
ALTER TABLE ca_codes ADD COLUMN years BIGINT NOT NULL DEFAULT 0;               -- renewals: added to the old end
ALTER TABLE ca_codes ADD COLUMN reason BIGINT NOT NULL DEFAULT 0;              -- reissues: RFC 5280 5.3.1
ALTER TABLE ca_codes ADD COLUMN device TEXT NOT NULL DEFAULT '';               -- reissues: the only device that may use it, '' for any
ALTER TABLE ca_codes ADD COLUMN rekey BIGINT NOT NULL DEFAULT 0;               -- reissues: 1 for a new encryption key pair
CREATE INDEX ca_codes_lineage ON ca_codes (lineage, state);

UPDATE ca_issuances SET device = COALESCE((SELECT d.id FROM ca_devices d WHERE d.key = ca_issuances.device_key), '');
INSERT INTO ca_lineages (lineage, head, pending, device)
	SELECT lineage, CASE WHEN state = 'issued' THEN sign_serial ELSE '' END, CASE WHEN state = 'pending' THEN id ELSE '' END, device
	FROM ca_issuances WHERE kind = 'dual';

-- What helps a lost phone to open its keystore and has to be destroyed.
CREATE TABLE ca_destructions (
	issuance TEXT   PRIMARY KEY,           -- the reissue that asks for it
	lineage  TEXT   NOT NULL,
	device   TEXT   NOT NULL,
	account  TEXT   NOT NULL,
	state    TEXT   NOT NULL               -- pending | done
);
CREATE INDEX ca_destructions_state ON ca_destructions (state);
