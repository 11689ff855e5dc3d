module leasehold.dev/examples/go

go 1.22
