//! The audit log of the API server: every request of the electors, with its time. What counters cannot tell.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::Context;
use jiff::Timestamp;
use serde::Deserialize;

/// What is logged: requests by service accounts, which are the electors. A watch is logged when it begins.
pub(super) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ['system:serviceaccounts']}
- {level: None}
";

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// When it arrived, in microseconds since 1970.
    pub(super) at: i64,
    pub(super) verb: String,
    /// Such as `leases`.
    pub(super) resource: String,
    pub(super) name: String,
    pub(super) code: u16,
}

/// The log of one API server. It is read on from where the last reading ended.
#[derive(Debug)]
pub(super) struct AuditLog {
    file: PathBuf,
    read: u64,
}

impl AuditLog {
    pub(super) fn new(file: &Path) -> AuditLog {
        AuditLog { file: file.to_owned(), read: 0 }
    }

    /// The requests since the last reading.
    ///
    /// # Errors
    /// There is no such file.
    pub(super) fn read_on(&mut self) -> anyhow::Result<Vec<Request>> {
        let what = || format!("the API server's audit log {}", self.file.display());
        let mut file = File::open(&self.file).with_context(what)?;
        file.seek(SeekFrom::Start(self.read)).with_context(what)?;
        let (mut lines, mut requests, mut text) = (BufReader::new(file), Vec::new(), String::new());
        // A last line without its end is still being written.
        while lines.read_line(&mut text).with_context(what)? > 0 && text.ends_with('\n') {
            self.read += text.len() as u64;
            requests.extend(request(&text));
            text.clear();
        }
        requests.sort_by_key(|request| request.at);
        Ok(requests)
    }
}

/// The most requests that arrived within any one second.
pub(super) fn peak(requests: &[Request]) -> usize {
    let (mut first, mut most) = (0, 0);
    for (last, request) in requests.iter().enumerate() {
        while requests[first].at + 1_000_000 <= request.at {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

/// How many requests of each kind there were in each second since then: `update leases`, `get leases 429`.
pub(super) fn curve(requests: &[Request], since: i64) -> BTreeMap<i64, BTreeMap<String, usize>> {
    let mut curve: BTreeMap<i64, BTreeMap<String, usize>> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.at >= since) {
        let second = curve.entry((request.at - since) / 1_000_000).or_default();
        let mut kind = format!("{} {}", request.verb, request.resource);
        if request.code >= 300 {
            kind.push_str(&format!(" {}", request.code));
        }
        *second.entry(kind).or_default() += 1;
    }
    curve
}

/// When the last of these Leases was written for the first time since then; none, if one was not.
pub(super) fn all_written(requests: &[Request], leases: usize, since: i64) -> Option<i64> {
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    let writes = requests.iter().filter(|request| {
        let is_write = request.verb == "update" && request.resource == "leases" && request.code == 200;
        is_write && request.at >= since
    });
    for request in writes {
        first.entry(&request.name).or_insert(request.at);
    }
    (first.len() >= leases).then(|| first.into_values().max()).flatten()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    request_received_timestamp: Timestamp,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
}

#[derive(Default, Deserialize)]
struct Object {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    name: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

/// None: a watch that ends, which was counted when it began, or was refused.
fn request(line: &str) -> Option<Request> {
    let event: Event = serde_json::from_str(line).ok()?;
    let code = event.response_status.code;
    let is_counted = match (event.verb.as_str(), event.stage.as_str()) {
        ("watch", stage) => stage == "ResponseStarted",
        (_, stage) => stage == "ResponseComplete" || stage == "Panic",
    };
    is_counted.then(|| Request {
        at: event.request_received_timestamp.as_microsecond(),
        verb: event.verb,
        resource: event.object_ref.resource,
        name: event.object_ref.name,
        code,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;

    fn line(verb: &str, stage: &str, name: &str, code: u16, second: &str) -> String {
        format!(
            "{{\"stage\":\"{stage}\",\"verb\":\"{verb}\",\"requestReceivedTimestamp\":\"2026-01-01T00:00:{second}Z\",\
             \"objectRef\":{{\"resource\":\"leases\",\"name\":\"{name}\"}},\"responseStatus\":{{\"code\":{code}}}}}\n"
        )
    }

    #[test]
    fn a_watch_counts_when_it_begins_and_a_log_is_read_on() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut log = AuditLog::new(file.path());
        let text = [
            line("watch", "ResponseStarted", "a", 200, "01.000000"),
            line("watch", "ResponseComplete", "a", 200, "01.000000"),
            line("watch", "ResponseStarted", "b", 429, "01.500000"),
            line("watch", "ResponseComplete", "b", 429, "01.500000"),
            line("update", "ResponseComplete", "b", 200, "00.900000"),
        ];
        let (whole, half) = text[4].split_at(20);
        write!(file, "{}{whole}", text[..4].concat()).unwrap();
        let read = log.read_on().unwrap();
        assert_eq!(read.iter().map(|request| request.code).collect::<Vec<_>>(), [200, 429]);
        write!(file, "{half}").unwrap();
        let more = log.read_on().unwrap();
        assert_eq!((more.len(), more[0].verb.as_str()), (1, "update"));
        assert!(log.read_on().unwrap().is_empty());
        assert!(AuditLog::new(Path::new("/nowhere")).read_on().is_err());
    }

    #[test]
    fn the_peak_is_that_of_any_second_and_all_leases_must_be_written() {
        let at = |ms: i64, name: &str| Request {
            at: ms * 1_000,
            verb: "update".into(),
            resource: "leases".into(),
            name: name.into(),
            code: 200,
        };
        let requests = [at(0, "a"), at(900, "b"), at(1_100, "a"), at(1_850, "b"), at(3_000, "b")];
        assert_eq!((peak(&requests), peak(&[])), (3, 0));
        assert_eq!(all_written(&requests, 2, 1_000_000), Some(1_850_000));
        assert_eq!(all_written(&requests, 2, 2_000_000), None);
        assert_eq!(curve(&requests, 900_000)[&0]["update leases"], 3);
    }
}
