//! The file with a token: that of the chart's Secret, which may hold an old and a new one.

/// The token to show: the first line that is not empty.
pub(crate) fn first(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

/// A bundle of certificates that has none: the system's are meant. The chart names one wherever TLS is on, and a Secret
/// whose certificate a public authority signed has no `ca.crt`.
pub(crate) fn has_certificates(pem: &[u8]) -> bool {
    pem.iter().any(|byte| !byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_tokens_the_first_is_shown() {
        for (text, token) in [("a\n", "a"), ("\n  a \r\nb\n", "a"), ("", ""), (" \n", "")] {
            assert_eq!(first(text), token, "{text:?}");
        }
    }
}
