-- SM3 of the platform's key that signed a renewal: still the present one when it is approved, or the application is worth nothing.
ALTER TABLE ca_platforms ADD COLUMN renews_key TEXT NOT NULL DEFAULT '';
