//! What an API server needs of keys and certificates, made for one run.

use std::path::Path;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

/// The files in a folder, and the authority that its clients trust.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    /// The authority, in PEM.
    pub(super) authority: String,
    /// The token of the operator, who may do everything.
    pub(super) token: String,
}

/// The names of the files.
pub(super) const SERVER: &str = "server.crt";
pub(super) const SERVER_KEY: &str = "server.key";
pub(super) const ACCOUNTS_KEY: &str = "accounts.key";
pub(super) const ACCOUNTS: &str = "accounts.pub";
pub(super) const TOKENS: &str = "tokens.csv";

/// Makes them.
pub(super) fn make(folder: &Path) -> anyhow::Result<Certificates> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = params.signed_by(&key, &authority)?;
    let accounts = KeyPair::generate()?;
    let token = uuid::Uuid::new_v4().to_string();
    for (name, text) in [
        (SERVER, server.pem()),
        (SERVER_KEY, key.serialize_pem()),
        (ACCOUNTS_KEY, accounts.serialize_pem()),
        (ACCOUNTS, accounts.public_key_pem()),
        (TOKENS, format!("{token},bench,bench,\"system:masters\"\n")),
    ] {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(Certificates { authority: authority.pem(), token })
}
