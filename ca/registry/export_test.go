package registry

// ValidOrigin is validOrigin.
func ValidOrigin(text string) bool { return validOrigin(text) }
