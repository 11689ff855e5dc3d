//! Where to reach a pod, from its name: the address templates.
//!
//! `{name}.{service}.{namespace}.svc.{clusterDomain}:{appPort}` is the usual one; a cluster of processes on one machine
//! uses sums, `127.0.0.1:{8089+100*ordinal}`.

/// An address template, checked, with everything filled in except the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// None: no template was given and none can be derived, because there is no headless Service.
    pieces: Option<Vec<Piece>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name,
    /// `base + factor * ordinal`
    Ordinal {
        base: u64,
        factor: u64,
    },
}

/// The values of an address template's fixed placeholders.
#[derive(Debug)]
pub(crate) struct TemplateValues {
    pub(crate) service: Option<String>,
    pub(crate) namespace: String,
    pub(crate) cluster_domain: String,
    pub(crate) app_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) sidecar_port: u16,
}

impl Template {
    /// The template without any address.
    pub fn unknown() -> Template {
        Template { pieces: None }
    }

    /// Checks a template, and fills in the values that all pods share.
    pub(crate) fn parse(text: &str, values: &TemplateValues) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or("a '{' is not closed")? + open;
            pieces.push(Piece::Text(rest[..open].to_owned()));
            pieces.push(placeholder(&rest[open + 1..close], values)?);
            rest = &rest[close + 1..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        if pieces.is_empty() {
            return Err("it is empty".to_owned());
        }
        Ok(Template { pieces: Some(pieces) })
    }

    /// The address of that pod. None if the template needs an ordinal and the name has none, or if there is no template.
    pub fn render(&self, pod: &str) -> Option<String> {
        let mut address = String::new();
        for piece in self.pieces.as_ref()? {
            match piece {
                Piece::Text(text) => address.push_str(text),
                Piece::Name => address.push_str(pod),
                Piece::Ordinal { base, factor } => {
                    let number = factor.checked_mul(ordinal(pod)?)?.checked_add(*base)?;
                    address.push_str(&number.to_string());
                }
            }
        }
        Some(address)
    }
}

/// The number at the end of a StatefulSet pod's name.
pub(crate) fn ordinal(pod: &str) -> Option<u64> {
    let digits = pod.rsplit_once('-')?.1;
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| digits.parse().ok()).flatten()
}

fn placeholder(word: &str, values: &TemplateValues) -> Result<Piece, String> {
    Ok(match word {
        "name" => Piece::Name,
        "ordinal" => Piece::Ordinal { base: 0, factor: 1 },
        "service" => Piece::Text(values.service.clone().ok_or("{service} needs --service")?),
        "namespace" => Piece::Text(values.namespace.clone()),
        "clusterDomain" => Piece::Text(values.cluster_domain.clone()),
        "appPort" => Piece::Text(values.app_port.to_string()),
        "sidecarPort" => Piece::Text(values.sidecar_port.to_string()),
        "peerPort" => Piece::Text(values.peer_port.to_string()),
        sum => arithmetic(sum).ok_or_else(|| format!("{{{sum}}} is not a valid placeholder"))?,
    })
}

/// `8089+100*ordinal`
fn arithmetic(text: &str) -> Option<Piece> {
    let (base, product) = text.split_once('+')?;
    let (factor, word) = product.split_once('*')?;
    if word.trim() != "ordinal" {
        return None;
    }
    Some(Piece::Ordinal { base: base.trim().parse().ok()?, factor: factor.trim().parse().ok()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn values() -> TemplateValues {
        TemplateValues {
            service: Some("svc".into()),
            namespace: "ns".into(),
            cluster_domain: "cluster.local".into(),
            app_port: 8089,
            peer_port: 8090,
            sidecar_port: 8088,
        }
    }

    #[test]
    fn placeholders_and_sums_are_filled_in() {
        let render = |text: &str, pod: &str| Template::parse(text, &values()).unwrap().render(pod);
        assert_eq!(
            render("{name}.{service}.{namespace}.svc.{clusterDomain}:{appPort}", "db-1").unwrap(),
            "db-1.svc.ns.svc.cluster.local:8089"
        );
        assert_eq!(render("127.0.0.1:{8089+100*ordinal}", "a-b-12").unwrap(), "127.0.0.1:9289");
        assert_eq!(render("{ordinal}/{peerPort}", "db-0").unwrap(), "0/8090");
        assert_eq!(render("{ordinal}", "no-ordinal-x"), None);
        assert_eq!(render("{1+18446744073709551615*ordinal}", "db-2"), None);
    }

    #[test]
    fn a_wrong_template_is_refused() {
        for bad in ["", "{", "{name", "{}", "{1+2*name}", "{x+1*ordinal}", "{ordinal*2}"] {
            assert!(Template::parse(bad, &values()).is_err(), "{bad}");
        }
        let without = TemplateValues { service: None, ..values() };
        assert!(Template::parse("{service}", &without).unwrap_err().contains("--service"));
    }

    #[test]
    fn the_ordinal_is_the_canonical_number_at_the_end() {
        assert_eq!(ordinal("db-10"), Some(10));
        for bad in ["db", "db-", "db-01", "db-1x", "db-+1"] {
            assert_eq!(ordinal(bad), None, "{bad}");
        }
    }
}
