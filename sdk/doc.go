// Package bidseal is what a bidding platform imports: it makes a QR code, waits
// for a bidder's phone to scan and sign, and yields only results that it has
// verified by itself, with the platform's own trust anchors.
//
// A platform opens the configuration that onboarding wrote, starts the
// client, and mounts the waiting page's endpoints:
//
//	config, err := bidseal.LoadConfig("platform/platform.json")
//	client, err := bidseal.New(config)
//	go client.Run(ctx)
//	mux.Handle("/bidseal/", http.StripPrefix("/bidseal", client.LoginHandler(bidseal.HandlerOptions{
//		OnLogin: func(w http.ResponseWriter, r *http.Request, login *bidseal.Login) error {
//			return sessions.Begin(w, login.Subject) // the platform's own session, with a new id
//		},
//	})))
//
// and puts two lines into its page:
//
//	<script type="module" src="/bidseal/widget.js"></script>
//	<bidseal-qr base="/bidseal"></bidseal-qr>
//
// Without a browser (a desktop client, a script) [Client.Login] gives the
// challenge itself: a code to show, events to follow and [Challenge.Wait] for
// the verified result.
//
// Several processes of one platform may work on one [Store]: each opens its own
// feed, and work on a result is done by one of them. Work that a process left
// unfinished is taken up by another.
//
// Every error that a caller may branch on is an [Error]; errors.Is compares
// codes: errors.Is(err, bidseal.ErrExpired).
package bidseal
