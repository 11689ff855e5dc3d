//! Process clusters on an embedded Lease API: what the end-to-end tests, the demo and the benches are made of.
//!
//! ```text
//!   demo, tests, bench (a crate) ──▶ cluster ──▶ store, sidecar (processes)
//!                            │   └───▶ leasehold_api (embedded, misbehaves on command)
//!                            ├──▶ service: clients as behind a Service, with kept connections, through every pod
//!                            └──▶ load ──▶ client ──▶ stores;  history: what clients learnt, against the data
//!   demo, tests ──▶ archive: agents and commands of the program backup, beside a cluster
//!   chaos ──▶ cluster, or a real Kubernetes: faults by a seed, clients, history (its own clients, judged afterwards)
//! ```

pub mod archive;
pub mod chaos;
pub mod client;
pub mod cluster;
pub mod demo;
pub mod figures;
pub mod history;
pub mod load;
pub mod service;
