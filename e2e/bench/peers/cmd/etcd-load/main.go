// etcd-load puts load on etcd by its own client, as `bench load` does on the others: one job as JSON in the only argument,
// one result as JSON on standard output. It ends early when its standard input is closed, so it never outlives `e2e`.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// What is to be done. The fields are those of e2e/bench/src/job.rs.
type job struct {
	Nodes       []string `json:"nodes"`
	Leader      int      `json:"leader"`
	Operation   string   `json:"operation"`
	Clients     int      `json:"clients"`
	Connections int      `json:"connections"`
	Seconds     float64  `json:"seconds"`
	WarmUp      float64  `json:"warmUp"`
	Records     int      `json:"records"`
	From        int      `json:"from"`
	RecordBytes int      `json:"recordBytes"`
	BatchSize   int      `json:"batchSize"`
	TickMs      int      `json:"tickMs"`
}

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: etcd-load JOB"))
	}
	// The generator shares the machine with what it measures: it has memory to spare, and no time.
	debug.SetGCPercent(800)
	var j job
	if err := json.Unmarshal([]byte(os.Args[1]), &j); err != nil {
		fail(fmt.Errorf("the job: %w", err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var over atomic.Bool
	go func() {
		// Whatever is read: what ends is the parent's wish, or the parent.
		_, _ = io.Copy(io.Discard, os.Stdin)
		over.Store(true)
		cancel()
	}()
	var err error
	switch j.Operation {
	case "gap":
		err = gaps(ctx, &j)
	case "fill":
		err = fill(ctx, &j)
	default:
		err = load(ctx, &j)
	}
	if err != nil && !over.Load() {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "etcd-load:", err)
	os.Exit(1)
}

// connect makes a client that knows one node only, so that it is clear who serves what.
func connect(node string) (*clientv3.Client, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{"http://" + node},
		DialTimeout: 5 * time.Second,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("no client of %s: %w", node, err)
	}
	return client, nil
}

// timeout of one request.
const timeout = 10 * time.Second

// once carries out one operation of the kind that the job names.
func once(ctx context.Context, j *job, here, leader *clientv3.Client, turn, at int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	operation := j.Operation
	if operation == "mixed" {
		// 5 writes in 100, evenly.
		if turn%20 == 19 {
			operation = "write"
		} else {
			operation = "read"
		}
	}
	switch operation {
	case "write":
		id := newID()
		_, err := leader.Put(ctx, key(id), record(id, j.RecordBytes))
		return 1, err
	case "read":
		return get(here.Get(ctx, key(knownID(at%j.Records)), clientv3.WithSerializable()))
	case "strong":
		return get(here.Get(ctx, key(knownID(at%j.Records))))
	case "list":
		answer, err := here.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithLimit(1000), clientv3.WithSerializable())
		if err != nil {
			return 0, err
		}
		if len(answer.Kvs) < 1000 {
			return 0, fmt.Errorf("a list of %d", len(answer.Kvs))
		}
		return len(answer.Kvs), nil
	case "batch":
		puts := make([]clientv3.Op, j.BatchSize)
		for i := range puts {
			id := newID()
			puts[i] = clientv3.OpPut(key(id), record(id, j.RecordBytes))
		}
		_, err := leader.Txn(ctx).Then(puts...).Commit()
		return len(puts), err
	}
	return 0, fmt.Errorf("no operation %q", operation)
}

func get(answer *clientv3.GetResponse, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	if len(answer.Kvs) != 1 {
		return 0, fmt.Errorf("a record is missing")
	}
	return 1, nil
}
