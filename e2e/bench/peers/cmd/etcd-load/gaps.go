package main

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// gaps begins a write at every node on every tick, whatever became of those before, and tells when the last one was
// acknowledged and how long none was. So a frozen node, or a request that it swallowed, holds no other write up.
func gaps(ctx context.Context, j *job) error {
	var mutex sync.Mutex
	var last int64
	out := json.NewEncoder(os.Stdout)
	acknowledged := func() {
		mutex.Lock()
		defer mutex.Unlock()
		now := time.Now().UnixNano()
		if gap := now - last; last != 0 && gap > 2*int64(j.TickMs)*1e6 {
			_ = out.Encode(map[string]any{"gapFrom": last, "gapMs": float64(gap) / 1e6})
		}
		last = now
	}
	flying := make(chan struct{}, 3000)
	ticker := time.NewTicker(time.Duration(j.TickMs) * time.Millisecond)
	defer ticker.Stop()
	clients := []*clientv3.Client{}
	for _, node := range j.Nodes {
		client, err := connect(node)
		if err != nil {
			return err
		}
		clients = append(clients, client)
	}
	told := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			for _, client := range clients {
				select {
				case flying <- struct{}{}:
				default:
					continue
				}
				go func() {
					defer func() { <-flying }()
					ctx, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					id := newID()
					if _, err := client.Put(ctx, key(id), record(id, j.RecordBytes)); err == nil {
						acknowledged()
					}
				}()
			}
			if now.Sub(told) >= 100*time.Millisecond {
				told = now
				mutex.Lock()
				_ = out.Encode(map[string]any{"lastAcknowledged": last})
				mutex.Unlock()
			}
		}
	}
}
