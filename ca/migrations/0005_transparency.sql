-- The public listing: leaves of the Merkle tree of package transparency, and the hashes of its perfect subtrees.
CREATE TABLE ca_tree_leaves (
	idx  BIGINT PRIMARY KEY,               -- from 0, without gaps
	name TEXT   NOT NULL,                  -- digest of the certificate, or id of the release
	data BYTEA  NOT NULL                   -- what is hashed
);
CREATE UNIQUE INDEX ca_tree_leaves_name ON ca_tree_leaves (name);

CREATE TABLE ca_tree_nodes (
	level BIGINT NOT NULL,
	idx   BIGINT NOT NULL,
	hash  BYTEA  NOT NULL,
	PRIMARY KEY (level, idx)
);

-- Private keys that left the key management centre, enveloped, but for the first time, which goes with the issuance.
CREATE TABLE ca_releases (
	id         TEXT   PRIMARY KEY,
	record     TEXT   NOT NULL,            -- kmc_keys.id
	lineage    TEXT   NOT NULL,
	reason     TEXT   NOT NULL,            -- reissue | recovery | ...
	recipient  TEXT   NOT NULL,            -- SM3 of the receiving key's SubjectPublicKeyInfo
	created_at BIGINT NOT NULL
);
CREATE INDEX ca_releases_lineage ON ca_releases (lineage, created_at);
