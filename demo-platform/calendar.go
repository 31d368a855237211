package demoplatform

import "time"

// beijing is the time of the site. China keeps one time without daylight saving, so a fixed zone is exact and needs no
// zone database on the machine.
func beijing() *time.Location { return time.FixedZone("Asia/Shanghai", 8*60*60) }

// cycleDays is how long an invented tender lasts from its notice to its next notice under a new number. A tender's
// place in the cycle follows from the date alone: the demo always has open ones, their times are stable while somebody
// looks at them, and a number found in an old record still leads somewhere.
const cycleDays = 35

// schedule is the life of one tender. Times are in the site's zone; each is the first moment of the next stage.
type schedule struct {
	Published time.Time // the notice is out and the documents can be had
	Documents time.Time // the last moment to get the documents
	Questions time.Time // the last moment for questions
	Deadline  time.Time // bids are due, and are opened at once
	Result    time.Time // the result is announced
}

// Stages of a tender's life, in order.
type stage string

const (
	stageOpen       stage = "open"
	stageClosing    stage = "closing" // open for less than closingWithin
	stageEvaluating stage = "evaluating"
	stageClosed     stage = "closed"
)

// closingWithin is when a tender starts to ask for attention.
const closingWithin = 72 * time.Hour

// stages in the order in which the list shows them.
func stages() []stage { return []stage{stageClosing, stageOpen, stageEvaluating, stageClosed} }

// at says which stage the tender is in.
func (s schedule) at(now time.Time) stage {
	switch {
	case !now.Before(s.Result):
		return stageClosed
	case !now.Before(s.Deadline):
		return stageEvaluating
	case s.Deadline.Sub(now) <= closingWithin:
		return stageClosing
	default:
		return stageOpen
	}
}

// plan is how an invented tender runs: the day of the cycle on which its notice comes out, the days from there to the
// deadline, and the hour of the deadline (half past).
type plan struct {
	phase, days, hour int
}

// current returns the schedule that is running at the time, and the one before it.
func (p plan) current(now time.Time) (running, before schedule) {
	day := int(now.Add(8*time.Hour).Unix() / (24 * 60 * 60)) // days since 1970 in Beijing
	cycle := (day - p.phase) / cycleDays
	running = p.cycle(cycle)
	if now.Before(running.Published) {
		cycle--
		running = p.cycle(cycle)
	}
	return running, p.cycle(cycle - 1)
}

// cycle lays out the n-th cycle since 1970. What falls on a weekend moves to Monday, but for the documents: theirs moves
// to Friday, because it has to lie before the deadline.
func (p plan) cycle(n int) schedule {
	start := n*cycleDays + p.phase
	return schedule{
		Published: workday(start, 9, 0),
		Documents: fridayOf(workday(start+p.days, 17, 0).AddDate(0, 0, -max(2, p.days/6))),
		Questions: workday(start+p.days/2, 17, 0),
		Deadline:  workday(start+p.days, p.hour, 30),
		Result:    workday(start+p.days+4, 16, 0),
	}
}

// workday is a time of day on the given day since 1970, or on the Monday after it.
func workday(day, hour, minute int) time.Time {
	t := time.Date(1970, time.January, 1+day, hour, minute, 0, 0, beijing())
	switch t.Weekday() {
	case time.Saturday:
		return t.AddDate(0, 0, 2)
	case time.Sunday:
		return t.AddDate(0, 0, 1)
	default:
		return t
	}
}

// fridayOf moves a weekend's time to the Friday before.
func fridayOf(t time.Time) time.Time {
	switch t.Weekday() {
	case time.Saturday:
		return t.AddDate(0, 0, -1)
	case time.Sunday:
		return t.AddDate(0, 0, -2)
	default:
		return t
	}
}

// remaining is a duration cut into what people say: two units, the larger first.
type remaining struct {
	Days, Hours, Minutes int
}

// until returns the time left, rounded up to whole minutes, so that it says zero only when the time has come.
func until(now, then time.Time) remaining {
	left := then.Sub(now)
	if left <= 0 {
		return remaining{}
	}
	minutes := int((left + time.Minute - 1) / time.Minute)
	return remaining{Days: minutes / (24 * 60), Hours: minutes / 60 % 24, Minutes: minutes % 60}
}
