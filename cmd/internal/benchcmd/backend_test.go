//go:build !postgres

package benchcmd

import "testing"

func runTests(m *testing.M) int { return m.Run() }
