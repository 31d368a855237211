-- Times are Unix milliseconds; due 0 is never.
CREATE TABLE sdk_record (
	name    TEXT   PRIMARY KEY,
	version BIGINT NOT NULL,
	value   BYTEA  NOT NULL,
	due     BIGINT NOT NULL,
	expires BIGINT NOT NULL
);
CREATE INDEX sdk_record_due ON sdk_record (due) WHERE due > 0;
CREATE INDEX sdk_record_expires ON sdk_record (expires);
