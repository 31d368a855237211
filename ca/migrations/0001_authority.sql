-- Times are Unix seconds, serial numbers upper-case hexadecimal, digests and ids lower-case.

CREATE TABLE ca_certificates (
	serial     TEXT   PRIMARY KEY,
	profile    TEXT   NOT NULL,
	issuer     TEXT   NOT NULL,            -- name of the issuing authority: root, issuing-1
	lineage    TEXT   NOT NULL DEFAULT '',
	issuance   TEXT   NOT NULL DEFAULT '', -- ca_issuances.id, or '' for the ceremony's
	not_before BIGINT NOT NULL,
	not_after  BIGINT NOT NULL,
	digest     TEXT   NOT NULL,            -- SM3 of der
	der        BYTEA  NOT NULL,
	state      TEXT   NOT NULL DEFAULT 'good', -- good | revoked
	revoked_at BIGINT NOT NULL DEFAULT 0,
	reason     BIGINT NOT NULL DEFAULT 0,  -- RFC 5280 5.3.1
	revision   BIGINT NOT NULL DEFAULT 0   -- of ca_counters 'revocation' when it was revoked
);
CREATE INDEX ca_certificates_lineage ON ca_certificates (lineage);
CREATE INDEX ca_certificates_state ON ca_certificates (issuer, state);
CREATE INDEX ca_certificates_profile ON ca_certificates (profile, not_before);

CREATE TABLE ca_issuances (
	id             TEXT   PRIMARY KEY,     -- request id
	kind           TEXT   NOT NULL,        -- dual | platform
	digest         TEXT   NOT NULL,        -- of the request
	state          TEXT   NOT NULL,        -- pending | issued | refused
	spki           BYTEA  NOT NULL,        -- key to be certified
	spki_digest    TEXT   NOT NULL,
	subject        TEXT   NOT NULL,        -- JSON
	lineage        TEXT   NOT NULL,
	account        TEXT   NOT NULL,
	device_key     BYTEA,
	code_digest    TEXT   NOT NULL,
	sign_serial    TEXT   NOT NULL,
	encrypt_serial TEXT   NOT NULL,
	key_record     TEXT   NOT NULL,        -- kmc_keys.id
	not_before     BIGINT NOT NULL,
	not_after      BIGINT NOT NULL,
	refusal        TEXT   NOT NULL DEFAULT '', -- the lint's error
	answer         BYTEA,
	created_at     BIGINT NOT NULL
);
CREATE UNIQUE INDEX ca_issuances_spki ON ca_issuances (spki_digest);
CREATE INDEX ca_issuances_state ON ca_issuances (state);

CREATE TABLE ca_codes (
	digest         TEXT   PRIMARY KEY,     -- SM3 of the code; the code itself is not stored
	subject        TEXT   NOT NULL,        -- JSON
	validity       BIGINT NOT NULL,        -- seconds, of the certificates
	expires_at     BIGINT NOT NULL,
	state          TEXT   NOT NULL,        -- open | used
	request_digest TEXT   NOT NULL DEFAULT '',
	created_at     BIGINT NOT NULL
);

CREATE TABLE ca_devices (
	id         TEXT   PRIMARY KEY,         -- protocol.DeviceID of key
	account    TEXT   NOT NULL,
	key        BYTEA  NOT NULL,
	state      TEXT   NOT NULL,            -- active | blocked
	created_at BIGINT NOT NULL
);

CREATE TABLE ca_platforms (
	id           TEXT   PRIMARY KEY,       -- of the request, unguessable
	keys_digest  TEXT   NOT NULL,          -- of request key and API key
	platform_id  TEXT   NOT NULL DEFAULT '',
	name         TEXT   NOT NULL,
	organisation TEXT   NOT NULL,
	credit_code  TEXT   NOT NULL,
	contact      TEXT   NOT NULL,
	origins      TEXT   NOT NULL,          -- JSON array
	spki         BYTEA  NOT NULL,
	api_key      BYTEA  NOT NULL,
	state        TEXT   NOT NULL,          -- pending | issued | rejected
	reason       TEXT   NOT NULL DEFAULT '',
	created_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX ca_platforms_keys ON ca_platforms (keys_digest);
CREATE INDEX ca_platforms_state ON ca_platforms (state);

CREATE TABLE ca_crls (
	issuer      TEXT   NOT NULL,
	number      BIGINT NOT NULL,
	this_update BIGINT NOT NULL,
	next_update BIGINT NOT NULL,
	revision    BIGINT NOT NULL,           -- of ca_counters 'revocation' that it holds
	der         BYTEA  NOT NULL,
	PRIMARY KEY (issuer, number)
);

CREATE TABLE ca_counters (
	name  TEXT   PRIMARY KEY,
	value BIGINT NOT NULL
);
INSERT INTO ca_counters (name, value) VALUES ('revocation', 0);

CREATE TABLE ca_audit (
	seq       BIGINT PRIMARY KEY,          -- from 1, without gaps
	at        BIGINT NOT NULL,             -- Unix milliseconds
	actor     TEXT   NOT NULL,
	event     TEXT   NOT NULL,
	content   TEXT   NOT NULL,             -- JSON
	hash      BYTEA  NOT NULL,             -- SM3 over the previous hash and this entry
	signature BYTEA  NOT NULL              -- of the authority's audit key over seq and hash
);
