package main

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

type quantiles struct {
	P50  uint32 `json:"p50"`
	P90  uint32 `json:"p90"`
	P99  uint32 `json:"p99"`
	P999 uint32 `json:"p999"`
	Max  uint32 `json:"max"`
}

type result struct {
	Operations      int       `json:"operations"`
	TotalOperations int       `json:"totalOperations"`
	Records         int       `json:"records"`
	Failed          int       `json:"failed"`
	FirstFailure    string    `json:"firstFailure"`
	Seconds         float64   `json:"seconds"`
	LatencyUs       quantiles `json:"latencyUs"`
	CPUSeconds      float64   `json:"cpuSeconds"`
}

// load keeps the job's clients busy: first to warm up, then for the measured time.
func load(ctx context.Context, j *job) error {
	pool, err := connectAll(j)
	if err != nil {
		return err
	}
	var mutex sync.Mutex
	var all []uint32
	var total result
	begin := time.Now().Add(seconds(j.WarmUp))
	end := begin.Add(seconds(j.Seconds))
	var wait sync.WaitGroup
	for c := range j.Clients {
		wait.Add(1)
		go func() {
			defer wait.Done()
			var took []uint32
			var mine result
			here, leader := pool.of(c)
			at := c * 7919
			for turn := c; ctx.Err() == nil; turn++ {
				at += 104729
				start := time.Now()
				if !start.Before(end) {
					break
				}
				records, err := once(ctx, j, here, leader, turn, at)
				done := time.Now()
				if err != nil {
					mine.Failed++
					mine.FirstFailure = err.Error()
					time.Sleep(10 * time.Millisecond)
					continue
				}
				mine.TotalOperations++
				if start.After(begin) && done.Before(end) {
					mine.Records += records
					took = append(took, uint32(done.Sub(start).Microseconds()))
				}
			}
			mutex.Lock()
			defer mutex.Unlock()
			all = append(all, took...)
			total.Records += mine.Records
			total.TotalOperations += mine.TotalOperations
			total.Failed += mine.Failed
			if total.FirstFailure == "" {
				total.FirstFailure = mine.FirstFailure
			}
		}()
	}
	wait.Wait()
	slices.Sort(all)
	at := func(q float64) uint32 {
		if len(all) == 0 {
			return 0
		}
		return all[min(len(all)-1, int(q*float64(len(all))))]
	}
	total.Operations = len(all)
	total.Seconds = j.Seconds
	total.LatencyUs = quantiles{at(0.5), at(0.9), at(0.99), at(0.999), at(1)}
	total.CPUSeconds = cpu()
	return json.NewEncoder(os.Stdout).Encode(total)
}

// fill writes the records from From up to Records, in transactions.
func fill(ctx context.Context, j *job) error {
	pool, err := connectAll(j)
	if err != nil {
		return err
	}
	var next atomic.Int64
	next.Store(int64(j.From))
	failures := make(chan error, j.Clients)
	begin := time.Now()
	for c := range j.Clients {
		go func() {
			_, leader := pool.of(c)
			failures <- func() error {
				for {
					first := int(next.Add(int64(j.BatchSize))) - j.BatchSize
					if first >= j.Records {
						return nil
					}
					puts := []clientv3.Op{}
					for i := first; i < min(first+j.BatchSize, j.Records); i++ {
						id := knownID(i)
						puts = append(puts, clientv3.OpPut(key(id), record(id, j.RecordBytes)))
					}
					ctx, cancel := context.WithTimeout(ctx, timeout)
					_, err := leader.Txn(ctx).Then(puts...).Commit()
					cancel()
					if err != nil {
						return err
					}
				}
			}()
		}()
	}
	for range j.Clients {
		if err := <-failures; err != nil {
			return err
		}
	}
	n := max(0, j.Records-j.From)
	done := result{Operations: n, TotalOperations: n, Records: n, Seconds: time.Since(begin).Seconds(), CPUSeconds: cpu()}
	return json.NewEncoder(os.Stdout).Encode(done)
}

// pool has connections to every node, and as many to the leader.
type pool struct{ nodes, leader []*clientv3.Client }

func connectAll(j *job) (*pool, error) {
	p := &pool{}
	for i := range max(1, min(j.Connections, j.Clients)) {
		client, err := connect(j.Nodes[j.Leader])
		if err != nil {
			return nil, err
		}
		p.leader = append(p.leader, client)
		if client, err = connect(j.Nodes[i%len(j.Nodes)]); err != nil {
			return nil, err
		}
		p.nodes = append(p.nodes, client)
	}
	return p, nil
}

func (p *pool) of(client int) (here, leader *clientv3.Client) {
	return p.nodes[client%len(p.nodes)], p.leader[client%len(p.leader)]
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// cpu is what this process has used of the processors, in seconds.
func cpu() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
