package bench

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPaceKeepsOrderAndCount(t *testing.T) {
	var seen []int
	start := time.Now().Add(-time.Hour) // all of it is late: none is skipped
	err := Pace(t.Context(), start, 1000, 5, func(i int) error { seen = append(seen, i); return nil })
	if err != nil || len(seen) != 5 || seen[0] != 0 || seen[4] != 4 {
		t.Fatalf("%v, %v", seen, err)
	}
	if d := Due(start, 1000, 5).Sub(start); d != 5*time.Millisecond {
		t.Fatalf("number 5 of 1000/s is due after %s", d)
	}
}

func TestPaceEndsEarly(t *testing.T) {
	stop := errors.New("stop")
	if err := Pace(t.Context(), time.Now(), 1e6, 3, func(int) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := Pace(ctx, time.Now(), 1e-6, 2, func(int) error { cancel(); return nil }) // number 1 is due in days
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestServe(t *testing.T) {
	var out strings.Builder
	in := strings.NewReader("{\"do\":\"a\",\"count\":3}\n{\"do\":\"b\"}\n")
	err := Serve(in, &out, func(o Order) (Answer, error) {
		if o.Do == "b" {
			return Answer{}, io.ErrUnexpectedEOF
		}
		return Answer{Addr: o.Do, Usage: Usage{Goroutines: o.Count}}, nil
	}, Failed)
	want := "{\"addr\":\"a\",\"goroutines\":3}\n{\"error\":\"unexpected EOF\"}\n"
	if err != nil || out.String() != want {
		t.Fatalf("%q, %v", out.String(), err)
	}
	if err := Serve(strings.NewReader("x\n"), &out, func(Order) (Answer, error) { return Answer{}, nil }, Failed); err == nil {
		t.Fatal("a line that is no order was passed over")
	}
}

func TestMeasure(t *testing.T) {
	u, err := MeasureCollected()
	if err != nil || u.CPU <= 0 || u.RSS < 1<<20 || u.Goroutines < 1 || u.Files == 0 {
		t.Fatalf("%+v, %v", u, err)
	}
	if n, err := RaiseFiles(); err != nil || n < u.Files {
		t.Fatalf("raised from %d to %d: %v", u.Files, n, err)
	}
}

func TestTriggers(t *testing.T) {
	var mu sync.Mutex
	var seen []int
	do := func(i int) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, i)
		return nil
	}
	addr, err := Triggers(do, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := Trigger(t.Context(), addr, time.Now(), 1e6, 1000, 7); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(seen)
	if len(seen) != 1000 || seen[0] != 0 || seen[999] != 999 {
		t.Fatalf("%d numbers", len(seen))
	}
	refused := errors.New("refused")
	if addr, err = Triggers(func(int) error { return refused }, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := Trigger(t.Context(), addr, time.Now(), 1e6, 1, 1); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Fatal(err)
	}
}
