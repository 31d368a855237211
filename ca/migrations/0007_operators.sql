-- People with a part in running the authority, each with a certificate and one role.
CREATE TABLE ca_operators (
	id         TEXT   PRIMARY KEY,         -- from the key
	name       TEXT   NOT NULL,
	role       TEXT   NOT NULL,            -- registration | approval | recovery | audit
	state      TEXT   NOT NULL,            -- pending | active | blocked
	serial     TEXT   NOT NULL DEFAULT '', -- of the certificate
	created_at BIGINT NOT NULL
);
CREATE INDEX ca_operators_serial ON ca_operators (serial);

-- Nonces of operators' calls, until they expire (Unix seconds).
CREATE TABLE ca_nonces (
	operator   TEXT   NOT NULL,
	nonce      TEXT   NOT NULL,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (operator, nonce)
);
CREATE INDEX ca_nonces_expires_at ON ca_nonces (expires_at);

-- What one operator registers and another approves, before there is a code.
CREATE TABLE ca_applications (
	id            TEXT   PRIMARY KEY,      -- request id, drawn by the caller
	request       BYTEA  NOT NULL,         -- JSON as it was signed
	state         TEXT   NOT NULL,         -- pending | approved | rejected | used
	registered_by TEXT   NOT NULL,         -- ca_operators.id
	decided_by    TEXT   NOT NULL DEFAULT '',
	reason        TEXT   NOT NULL DEFAULT '',
	code          TEXT   NOT NULL DEFAULT '', -- digest of the code that was given out last
	created_at    BIGINT NOT NULL
);
CREATE INDEX ca_applications_state ON ca_applications (state, created_at);

-- Recoveries of escrowed keys outside a reissue: both operators' signed calls, and the answer.
CREATE TABLE ca_recoveries (
	id                TEXT   PRIMARY KEY,  -- request id, drawn by the caller
	state             TEXT   NOT NULL,     -- pending | released | rejected | expired
	record            TEXT   NOT NULL,     -- kmc_keys.id
	lineage           TEXT   NOT NULL,
	request           BYTEA  NOT NULL,     -- body of the request
	request_serial    TEXT   NOT NULL,     -- certificate of the operator who asked
	request_base      BYTEA  NOT NULL,     -- what was signed (RFC 9421 2.5)
	request_signature BYTEA  NOT NULL,
	decision          BYTEA,
	decision_serial    TEXT  NOT NULL DEFAULT '',
	decision_base      BYTEA,
	decision_signature BYTEA,
	envelope          BYTEA,               -- SM2EnvelopedKey
	created_at        BIGINT NOT NULL,
	expires_at        BIGINT NOT NULL
);
CREATE INDEX ca_recoveries_state ON ca_recoveries (state, created_at);
