package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// Common answers the orders that every measured process knows: "usage",
// "collect" (usage after a collection), "profile" (a CPU profile into Path
// begins), "profiled" (it ends) and "heap" (a profile of the heap into Path).
type Common struct{ profile *os.File }

// Do answers an order; known is false where it is not a common one.
func (c *Common) Do(o Order) (a Answer, known bool, err error) {
	switch o.Do {
	case "usage":
		a.Usage, err = Measure()
	case "collect":
		a.Usage, err = MeasureCollected()
	case "profile":
		err = c.begin(o.Path)
	case "profiled":
		err = c.End()
	case "heap":
		err = heap(o.Path)
	default:
		return a, false, nil
	}
	return a, true, err
}

func (c *Common) begin(path string) error {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(fmt.Errorf("profile: %w", err), f.Close())
	}
	c.profile = f
	return nil
}

// End writes a profile that was begun.
func (c *Common) End() error {
	if c.profile == nil {
		return nil
	}
	pprof.StopCPUProfile()
	err := c.profile.Close()
	c.profile = nil
	return err
}

func heap(path string) error {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return errors.Join(pprof.WriteHeapProfile(f), f.Close())
}
