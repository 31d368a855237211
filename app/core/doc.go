// Package core is the phone: it keeps a person's certificate keys, gets them
// from an authority, scans codes, shows who asks for what, and signs. It is
// pure Go without net/http and builds for a browser (js/wasm) and for native
// shells, which bring a Transport, a storage.Files and, where they have one, a
// keys.Provider of a certified module.
//
//	files, err := storage.OpenDir(dir)                       // or NewMemory, or a browser's
//	store, err := keystore.New(files, keystore.DefaultKDF())
//	phone, err := core.Open(ctx, core.Options{Files: files, Keys: store, Transport: t,
//	        App: "bidseal/1.0", Now: time.Now, Log: log})
//
//	file, err := core.ParseEnrolmentFile(raw)                // what the operator handed out
//	certs, err := phone.Enrol(ctx, file, core.Setup{}, password)
//
//	cid, err := phone.Identify(text)                         // which challenge, without claiming it
//	done, err := phone.Resume(ctx)                           // deliver what an earlier run could not
//	s, err := phone.Scan(ctx, text)                          // claims, opens, verifies
//	s.Review()                                               // what to show, in plain words
//	err = s.EnterDigits(ctx, "42")                           // where Review.NeedsDigits
//	outcome, err := s.Approve(ctx, certificateID, password)  // or s.Reject(ctx, reason)
//
// The phone signs nothing but what this module builds: statements and receipts
// through keys.Message under the person's certificate, proofs and rejections
// under the device key, and certification requests that it parsed.
//
// Every error is a *protocol.Error with a code of the catalogue; its words for
// people are protocol.Lookup(code).TitleZH and ActionZH.
//
// Everything can be repeated: a claim keeps its id on disk, a result is on disk
// before it is sent and stays there until the relay's 200, an enrolment goes on
// with the keys it began with.
package core
