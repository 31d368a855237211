// Package sdktest lets a platform test its sign-in without a network: a relay
// and a certificate authority in memory, and phones that scan and sign.
//
//	env := sdktest.New(t)
//	client := env.Client()
//	challenge, err := client.Login(ctx, bidseal.LoginOptions{})
//	err = env.Phone("张三").Approve(ctx, challenge.Payload())
//	login, err := challenge.Wait(ctx)
//
// The relay speaks the real HTTP API over a loopback listener, WebSocket feed
// included, and moves challenges by the protocol's own state machine. Its hooks
// make it hostile, so that a platform sees what is refused and how.
package sdktest
