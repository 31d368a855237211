package bidseal_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"testing"

	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

// A platform mounts the waiting page's endpoints and begins its own session
// where the sign-in is verified.
func ExampleClient_LoginHandler() {
	config, err := bidseal.LoadConfig("platform/platform.json")
	if err != nil {
		log.Fatal(err)
	}
	client, err := bidseal.New(config)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		if err := client.Run(context.Background()); err != nil {
			log.Print(err)
		}
	}()
	mux := http.NewServeMux()
	mux.Handle("/bidseal/", http.StripPrefix("/bidseal", client.LoginHandler(bidseal.HandlerOptions{
		OnLogin: func(w http.ResponseWriter, r *http.Request, login *bidseal.Login) error {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: newSession(login.Subject), HttpOnly: true, Secure: true, Path: "/"})
			return nil
		},
	})))
	mux.HandleFunc("/signin", func(w http.ResponseWriter, _ *http.Request) {
		client.SecurePage(w.Header())
		fmt.Fprint(w, `<script type="module" src="/bidseal/widget.js"></script><bidseal-qr base="/bidseal"></bidseal-qr>`)
	})
}

// newSession stands for the platform's own sessions.
func newSession(bidseal.Subject) string { return "a new random id" }

// example runs an example's body with a test's services.
func example(body func(t testing.TB)) {
	testing.Benchmark(func(b *testing.B) {
		if b.N == 1 {
			body(b)
		}
	})
}

// A desktop client shows the code itself and waits for the result. The phone and
// the relay are those of sdktest.
func ExampleChallenge_Wait() {
	example(func(t testing.TB) {
		env, ctx := sdktest.New(t), context.Background()
		challenge, err := env.Client().Login(ctx, bidseal.LoginOptions{Display: []string{"登录示例平台"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := env.Phone("张三").Approve(ctx, challenge.Payload()); err != nil {
			t.Fatal(err)
		}
		login, err := challenge.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(login.Person, login.Kind)
	})
	// Output: 张三 person
}
