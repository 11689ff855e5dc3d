//! The address of a store: `http://host:8089`, or `https://`.

use reqwest::Url;

/// With a scheme and a host.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let form = "write it as http://host:8089 or https://host:8089";
    let url = Url::parse(text).map_err(|error| format!("{error}; {form}"))?;
    match (url.scheme(), url.has_host()) {
        ("http" | "https", true) => Ok(url),
        _ => Err(form.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_scheme_and_a_host() {
        for good in ["http://db:8089", "https://[::1]:8089/", "http://proxy/db"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "db", "db:8089", "10.0.0.1:8089", "ftp://db", "http://", "http://:8089", "s3://bucket"] {
            assert!(parse(bad).is_err_and(|why| why.contains("http://host:8089")), "{bad}");
        }
    }
}
