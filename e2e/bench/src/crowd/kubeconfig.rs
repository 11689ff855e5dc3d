//! How an API server is reached: a kubeconfig, and the forms of what stands in it.

use serde_json::{Value, json};

use crate::etcd::base64;

/// How that user reaches the API server.
pub(super) fn kubeconfig(url: &str, authority: &str, user: &str, token: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": url, "certificate-authority-data": base64(authority.as_bytes())}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": user}}],
    })
}

/// A certificate in PEM.
pub(super) fn pem(der: &[u8]) -> String {
    let coded = base64(der);
    let lines: Vec<&str> =
        coded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_client_can_be_made_of_it() {
        let authority = pem(&[7; 100]);
        let value = kubeconfig("https://127.0.0.1:1", &authority, "app-00001-0", "secret");
        let read: kube::config::Kubeconfig = serde_json::from_value(value).unwrap();
        let cluster = read.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some(base64(authority.as_bytes()).as_str()));
        assert_eq!((authority.lines().count(), authority.lines().nth(1).unwrap().len()), (5, 64));
    }
}
