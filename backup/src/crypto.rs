//! The one crypto library of the process.

/// Makes ring what rustls uses, here and in reqwest. A second call changes nothing.
pub fn install() {
    // Refused only if it was installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
