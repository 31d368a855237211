// Package relay is the signing relay: it carries challenges between bidding
// platforms and phones, decides who claims and how a claim ends, and keeps the
// ledger of all ends. It can neither read a request, a result or a key nor forge
// one; see protocol/SPEC.md.
//
// One owner of state. Each transition is computed by the pure functions of
// protocol.Progress and stored by State.Swap, a compare-and-swap on the
// revision; a lost swap reads again. Ends of claims are decided by Outcomes, one
// SQL insert unique by cid, with receipt and ledger entry. Every call may be
// repeated and returns what the first returned.
//
// What to bring: State, Nonces, Counters, Outcomes and Directory (relay/sqlstore is
// all of them in one database) and a Bus (NewLocalBus for one node).
//
//	store, err := sqlstore.Open(ctx, "relay.db", time.Now)
//	r, err := relay.New(ctx, relay.Config{Origin: "https://relay.example.cn", Anchors: anchors,
//		PassKeys: passKeys, LedgerKey: ledgerKey, Outcomes: store, Directory: store,
//		Bus: relay.NewLocalBus(), Clock: time.Now, Logger: logger}.WithStore(store))
//	go r.Run(ctx)                       // deadlines, pings
//	http.Serve(listener, r.Handler())
//	r.Drain(ctx)                        // before the server is shut down
//
// # Callers
//
// The API is listed in protocol/wire.go. Platforms sign their calls by RFC 9421;
// the exact profile, with both sides of it, is package internal/callsig. keyid
// is the platform's id. Phones send a device pass and a proof (protocol/pass.go);
// the proof's URL is the configured origin followed by the request target.
//
// A WebSocket feed starts with the platform's FeedHello; the relay then sends
// FeedPages, the first one at once, even when it is empty. A page's WebSocket
// starts with its WatchBody; the relay sends the newest state at once and each
// newer one as it comes, as WatchState frames. Neither peer sends anything else. The relay
// closes with 1008 and an error code as the reason where it refuses, with 1013
// where coming back helps, and with 1012 and the reason "retry_ms=N" when it drains.
//
// # Records
//
// Every end of a claim has a receipt and one ledger entry: a result is signed by
// the user's certificate (TagReceipt), a rejection and a phone's failure by the
// device key (TagReject). Where no phone signs, that is on expiry, and on the
// platform's failure or cancellation, the relay signs with its ledger key
// under TagReject; the reason is the failure's code, "expired" or "canceled".
package relay
