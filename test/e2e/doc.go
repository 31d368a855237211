// Package e2e drives the demo the way a bidder does: headless Chromium shows the page, a screenshot of it is what the
// command-line phone scans, and the page must say what came of it.
//
// The tests stand behind the build tag e2e and need Chromium and a Chinese font (`make e2e`); BIDSEAL_BIN names the
// binary under test, or it is built first. `go test -tags e2e -artifacts ./test/e2e` keeps every screenshot taken.
package e2e
