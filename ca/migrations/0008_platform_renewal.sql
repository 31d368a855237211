-- Platform id whose certificate an application renews, '' for a new platform; and who applied, for a bound on each caller.
ALTER TABLE ca_platforms ADD COLUMN renews TEXT NOT NULL DEFAULT '';
ALTER TABLE ca_platforms ADD COLUMN caller TEXT NOT NULL DEFAULT '';
CREATE INDEX ca_platforms_platform ON ca_platforms (platform_id);
