// Package demoplatform is a bidding site in Chinese, with an English switch, that signs its bidders in by the phone
// certificate. It uses nothing of BidSeal but the public SDK, and it is made to be copied: login.go is the part that
// any platform needs, the rest is an ordinary web site with html/template, two style sheets and one small script.
//
//	site, err := demoplatform.New(demoplatform.Options{Client: client, Origin: "https://bids.example.cn", Dir: "var/site"})
//	server := &http.Server{Handler: site.Handler(), ReadHeaderTimeout: 5 * time.Second}
//
// The tenders are invented and come round again, so that some are always open: see calendar.go. Sessions live in
// memory and end with the process; usage records and evidence files are kept in Dir.
package demoplatform
