//! A URL or a flag that does not fit the port of a store: what an error says that trying again does not mend.

/// What does not fit. The caller knows its flags, and says which one to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The certificate is not of an authority that is trusted here, or of another name.
    Certificate,
    /// `https://`, and the answer is not TLS.
    PortHasNoTls,
    /// `http://`, and the answer is not HTTP: TLS answers a request in the clear with an alert.
    PortHasTls,
}

impl Misfit {
    /// By the words of rustls and of hyper: reqwest does not show their types.
    pub(crate) fn of(why: &str) -> Option<Misfit> {
        if why.contains("certificate") {
            Some(Misfit::Certificate)
        } else if why.contains("InvalidContentType") {
            Some(Misfit::PortHasNoTls)
        } else if why.contains("invalid HTTP version") {
            Some(Misfit::PortHasTls)
        } else {
            None
        }
    }
}
