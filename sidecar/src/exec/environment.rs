//! What CMD learns by its environment. docs/sidecar.md says the same.

use std::ffi::OsString;
use std::path::Path;

use leasehold_contract::{ROLE_FILE, RoleFile};

/// Each variable, and its value; None removes one that an outer `exec` may have set.
pub(super) fn of(role: &RoleFile, directory: &Path) -> Vec<(&'static str, Option<OsString>)> {
    let text = |text: String| Some(OsString::from(text));
    let leader = role.leader.as_ref();
    vec![
        ("LEASEHOLD_TERM", text(role.term.to_string())),
        ("LEASEHOLD_LEADER", leader.and_then(|leader| text(leader.address.clone()))),
        ("LEASEHOLD_LEASE", text(format!("{}/{}", role.lease.namespace, role.lease.name))),
        ("LEASEHOLD_POD", text(role.self_name.clone())),
        ("LEASEHOLD_INCARNATION", leader.and_then(|leader| text(leader.incarnation?.to_string()))),
        ("LEASEHOLD_ROLE_FILE", Some(directory.join(ROLE_FILE).into_os_string())),
    ]
}
