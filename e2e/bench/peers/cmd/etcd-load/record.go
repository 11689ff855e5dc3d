package main

import (
	"crypto/rand"
	"fmt"
	"strings"
)

const prefix = "/persons/"

func key(id string) string { return prefix + id }

// knownID is the id of the record number i that a fill has written. As in e2e/bench/src/record.rs.
func knownID(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i) }

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// record is the JSON text that all systems store, padded to the same size.
func record(id string, bytes int) string {
	empty := `{"firstName":"Bench","lastName":"","id":"` + id + `"}`
	return `{"firstName":"Bench","lastName":"` + strings.Repeat("x", max(1, bytes-len(empty))) + `","id":"` + id + `"}`
}
