//! The HTTP API for clients and people: reads what the replica holds, and writes through the log.
//!
//! ```text
//!   request ──forward──▶ dispatch (by `paths`, and the table of `calls`)
//!                          ──writes, batch, transaction──▶ attempts ──plan──▶ Handle::write ──▶ log
//!                                                           ──reads, watch───▶ Handle::{read_index, applied, documents, history}
//!                                                           ──pages, openapi─▶ Handle::{documents, status, role}
//!           ◀─ one place (`finish`) ── answer or Problem: status, headers, Leasehold-Sequence
//! ```
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /{collection}` | a JSON array; `?where.<path>=`, `?sort=`, `?count=true`; `?limit=` and the `next` link page. Persons: also `?firstName=`, `?lastName=`, `?id=` |
//! | `POST /{collection}` | 201, `Location` and the record; 200 if the same record is there; 409 if another one has its id |
//! | `GET /{collection}/{id}` | 200 with `ETag`; 404; `If-None-Match`: 304 |
//! | `PUT /{collection}/{id}` | 201 if it is new, else 200; `If-Match`, `If-None-Match: *`: 412 |
//! | `PATCH /{collection}/{id}` | 200; 404; JSON Merge Patch; `If-Match`: 412 |
//! | `DELETE /{collection}/{id}` | 204; 404; `If-Match`: 412 |
//! | `POST /{collection}:batch` | up to 1,000 operations, all or none |
//! | `GET /{collection}:watch` | server-sent events: each committed change |
//! | `POST /api/transaction` | as a batch, over any collections |
//! | `GET /api/watch` | as a watch, of all collections and definitions, with the hash of the data after each entry |
//! | `GET /api/snapshot` | all data at one position of the log, as one file |
//! | `GET /api/collections`, `/api/collections/{collection}` | what collections there are, and what they are |
//! | `PUT /api/collections/{collection}` | defines it, or changes it: 201, 200, or 202 while the change is pending |
//! | `DELETE /api/collections/{collection}` | 204; 409 if it has records, unless `?records=delete` |
//! | `DELETE /api/collections/{collection}/pending` | gives the pending change up: 204; 404 |
//! | `PUT /api/expiry` | pauses expiry, or ends the pause |
//! | `GET /api/leader` | who leads; `Accept: text/plain`: `true` where this replica does, else `false` |
//! | `GET /api/status` | all that the replica says of itself |
//! | `GET /healthz`, `/readyz`, `/metrics`, `/` | alive; may be asked; Prometheus; these calls |
//! | `GET /openapi.json`, `/docs` | the same for programs and people: for each collection, by its definition |
//!
//! Reads are local unless they ask for more (`?consistency=strong`, `?after=`): they see what this replica has applied,
//! which `Leasehold-Sequence` names. `HEAD` goes to the same call as `GET`, and `OPTIONS` lists a path's methods. Around
//! the calls, [`forward`] takes writes elsewhere and compresses (`gzip`), and [`cors`] answers browsers. Before them,
//! [`browsers`] refuses what foreign pages send, and [`tokens`] asks what a request needs (`need`), and whether its token permits
//! that ([`rights`]). Every error is a
//! [`Problem`](problem::Problem) from the list in [`problem::Code`]. A call returns a result; it decides what happens to a
//! write that was not done, before the result becomes HTTP.

mod asked;
mod attempts;
mod batch;
mod body;
pub mod browsers;
mod calls;
mod conditions;
mod context;
pub mod cors;
mod cursor;
pub(crate) mod definitions;
mod described;
mod dispatch;
mod expires_in;
mod expiry;
pub mod farewells;
mod filters;
pub mod forward;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzzed;
mod gzip;
pub mod hosts;
pub mod initial_data;
mod key;
mod leader;
mod list;
mod members;
mod need;
mod openapi;
mod operations;
mod pages;
mod paths;
mod percent;
pub mod person;
mod plan;
pub mod problem;
mod proposal;
mod query;
mod reads;
mod record;
mod refusals;
mod reply;
mod rfc3339;
pub mod rights;
mod seen;
mod snapshot;
pub mod tokens;
mod transaction;
mod turns;
mod watch;
mod writes;

pub use context::{Config, FORWARDED, PARTIAL, READ_TIMEOUT_MAX, SEQUENCE, STALENESS, Shown};
pub use dispatch::{Calls, Probes};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
