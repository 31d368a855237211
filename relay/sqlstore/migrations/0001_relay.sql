-- Times are Unix milliseconds unless the name says otherwise; due 0 is never.

CREATE TABLE relay_meta (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
);

-- One row for each platform's feed: its last rev and its open challenges.
CREATE TABLE relay_feed (
	platform TEXT PRIMARY KEY,
	last_rev BIGINT NOT NULL,
	open     BIGINT NOT NULL
);

CREATE TABLE relay_challenge (
	cid           BYTEA PRIMARY KEY,
	platform      TEXT NOT NULL,
	rev           BIGINT NOT NULL,
	create_digest BYTEA NOT NULL,
	open          BIGINT NOT NULL,
	due           BIGINT NOT NULL,
	changed       BIGINT NOT NULL,
	record        BYTEA NOT NULL
);
CREATE UNIQUE INDEX relay_challenge_feed ON relay_challenge (platform, rev);
CREATE INDEX relay_challenge_due ON relay_challenge (due) WHERE due > 0;
CREATE INDEX relay_challenge_ended ON relay_challenge (changed) WHERE open = 0;

CREATE TABLE relay_part (
	cid  BYTEA NOT NULL,
	name TEXT NOT NULL,
	data BYTEA NOT NULL,
	PRIMARY KEY (cid, name)
);

CREATE TABLE relay_nonce (
	nonce TEXT PRIMARY KEY,
	until BIGINT NOT NULL
);
CREATE INDEX relay_nonce_until ON relay_nonce (until);

-- How claimed challenges ended; cid makes an end exclusive.
CREATE TABLE relay_end (
	cid       BYTEA PRIMARY KEY,
	platform  TEXT NOT NULL,
	kind      TEXT NOT NULL,
	state     TEXT NOT NULL,
	code      TEXT NOT NULL,
	device    TEXT NOT NULL,
	account   TEXT NOT NULL,
	claim_seq BIGINT NOT NULL,
	ended_at  BIGINT NOT NULL,
	digest    BYTEA,
	kem       BYTEA,
	box       BYTEA,
	receipt   BYTEA NOT NULL,
	applied   BIGINT NOT NULL
);
CREATE INDEX relay_end_unapplied ON relay_end (ended_at) WHERE applied = 0;

CREATE TABLE relay_ledger (
	idx       BIGINT PRIMARY KEY,
	cid       BYTEA NOT NULL UNIQUE,
	salt      BYTEA NOT NULL,
	entry     BYTEA NOT NULL,
	head      BYTEA NOT NULL,
	signature BYTEA NOT NULL
);

CREATE TABLE relay_ledger_head (
	one  BIGINT PRIMARY KEY CHECK (one = 1),
	size BIGINT NOT NULL,
	head BYTEA NOT NULL
);

CREATE TABLE relay_platform (
	id           TEXT PRIMARY KEY,
	name         TEXT NOT NULL,
	chain_digest BYTEA NOT NULL,
	api_key      BYTEA NOT NULL,
	origins      TEXT NOT NULL,
	max_open     BIGINT NOT NULL,
	max_keep     BIGINT NOT NULL,
	blocked      BIGINT NOT NULL,
	added        BIGINT NOT NULL
);

CREATE TABLE relay_denied_device (
	device TEXT PRIMARY KEY,
	reason TEXT NOT NULL,
	since  BIGINT NOT NULL
);
