-- When the device's pass was last drawn up, Unix seconds; 0 for never since it enrolled.
ALTER TABLE ca_devices ADD COLUMN pass_at BIGINT NOT NULL DEFAULT 0;
