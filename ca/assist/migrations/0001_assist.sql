-- Times are Unix seconds, ids lower-case hexadecimal.

CREATE TABLE assist_keystores (
	device     TEXT   NOT NULL,
	keystore   TEXT   NOT NULL,
	state      TEXT   NOT NULL,           -- live | destroyed
	epoch      BIGINT NOT NULL,           -- the highest that was ever given
	counted    BIGINT NOT NULL,           -- tries that were ever counted
	forgiven   BIGINT NOT NULL,           -- number of the newest try whose success was proved
	created_at BIGINT NOT NULL,
	PRIMARY KEY (device, keystore)
);

CREATE TABLE assist_epochs (
	device     TEXT   NOT NULL,
	keystore   TEXT   NOT NULL,
	epoch      BIGINT NOT NULL,
	state      TEXT   NOT NULL,           -- pending | active
	begin_id   TEXT   NOT NULL,
	digest     TEXT   NOT NULL,           -- of the request that began it
	server_key BYTEA  NOT NULL,
	wrapped    BYTEA  NOT NULL,           -- the evaluation key under the key-encryption key
	share      BYTEA  NOT NULL,           -- the reset share under the key-encryption key
	proof_key  BYTEA  NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (device, keystore, epoch)
);
CREATE UNIQUE INDEX assist_epochs_begin ON assist_epochs (device, keystore, begin_id);

CREATE TABLE assist_attempts (
	device   TEXT   NOT NULL,
	keystore TEXT   NOT NULL,
	attempt  TEXT   NOT NULL,
	epoch    BIGINT NOT NULL,
	number   BIGINT NOT NULL,             -- of assist_keystores.counted
	state    TEXT   NOT NULL,             -- open | closed
	blinded  BYTEA  NOT NULL,             -- keyed digest of the blinded element
	answer   BYTEA  NOT NULL,             -- the evaluation, sealed
	at       BIGINT NOT NULL,
	PRIMARY KEY (device, keystore, attempt)
);
CREATE INDEX assist_attempts_at ON assist_attempts (device, keystore, at);

CREATE TABLE assist_destroyed (
	device TEXT   PRIMARY KEY,
	at     BIGINT NOT NULL
);

CREATE TABLE assist_tokens (
	nonce   TEXT   PRIMARY KEY,
	digest  TEXT   NOT NULL,              -- of the request that used it
	used_at BIGINT NOT NULL
);

CREATE TABLE assist_persons (
	account TEXT  PRIMARY KEY,
	person  BYTEA NOT NULL                -- of the first token that was used for the account
);
