// Worker does a piece of work again and again, but only where its pod leads.
// It asks the sidecar beside it before each piece, and gives the piece a deadline.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// The part of GET /v1/state that matters here: one answer, so all of it is of one moment.
type state struct {
	Name  string // of this pod
	Leads bool
	Role  struct {
		Term  int64 // grows with each leadership
		Lease struct{ DurationMs, ValidUntilUnixMs int64 }
	}
}

// ask returns an error in any doubt. A nil error means: this pod leads, for certain until the returned time.
func ask(ctx context.Context, sidecar string) (now state, until time.Time, err error) {
	asked := time.Now()
	// A frozen sidecar accepts connections, and never answers.
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, sidecar+"/v1/state", nil)
	if err != nil {
		return now, until, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return now, until, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return now, until, errors.New(answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(&now); err != nil {
		return now, until, err
	}
	if !now.Leads {
		return now, until, errors.New("this pod does not lead")
	}
	// A sidecar says yes for two thirds of the duration after a renewal. So a third is left, counted from before the question;
	// less only if the sidecar was frozen, and answered before it looked at its clock.
	until = asked.Add(time.Duration(now.Role.Lease.DurationMs) * time.Millisecond / 3)
	if valid := time.UnixMilli(now.Role.Lease.ValidUntilUnixMs); valid.Before(until) {
		until = valid
	}
	return now, until, nil
}

// work is one piece of work. It must not outlive its context: after that another pod may lead.
func work(_ context.Context, term int64, pod string) {
	fmt.Printf("term %d: %s works\n", term, pod)
}

func main() {
	sidecar := os.Getenv("SIDECAR")
	if sidecar == "" {
		sidecar = "http://localhost:8088"
	}
	// The sidecar lets go when this program has ended, so SIGTERM ends it at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	pace := time.NewTicker(500 * time.Millisecond)
	for {
		if now, until, err := ask(ctx, sidecar); err == nil {
			piece, cancel := context.WithDeadline(ctx, until)
			if piece.Err() == nil {
				work(piece, now.Role.Term, now.Name)
			}
			cancel()
		}
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
	}
}
