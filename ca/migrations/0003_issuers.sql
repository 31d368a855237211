-- The issuing authorities under the root. The one with the highest position issues; all answer for their certificates.
CREATE TABLE ca_issuers (
	name     TEXT   PRIMARY KEY,           -- issuing-1, as in ca_certificates.issuer
	position BIGINT NOT NULL,
	serial   TEXT   NOT NULL               -- ca_certificates.serial
);
CREATE UNIQUE INDEX ca_issuers_position ON ca_issuers (position);
INSERT INTO ca_issuers (name, position, serial) SELECT 'issuing-1', 1, serial FROM ca_certificates WHERE profile = 'issuing';
