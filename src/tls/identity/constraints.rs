//! nameConstraints (RFC 5280 §4.2.1.10) on text.
//!
//! webpki holds each subjectAltName to the constraints of its own kind. That is not enough here: a consumer, a group or a
//! credential is found by plain text, whatever field it stood in (KONG.md §5.4). A CA that is held to `a.test` could
//! otherwise name `admin.b.test` in a common name, a URI or a directoryName. So a text is held to the constraints of
//! every kind it reads as. OpenSSL does so for the common name of a certificate without dNSName.

use std::net::IpAddr;
use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints as Parsed};

/// What one CA allows below itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameConstraints {
    permitted: Subtrees,
    excluded: Subtrees,
}

/// Bases by kind. A directoryName is not held here: webpki refuses every certificate below such a constraint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Subtrees {
    dns: Vec<Box<str>>,
    email: Vec<Box<str>>,
    /// Address and mask.
    ip: Vec<Box<[u8]>>,
    /// One is there. It is not compared with: no URI is allowed then, as webpki has it.
    uri: bool,
}

impl NameConstraints {
    pub(super) fn of(parsed: &Parsed<'_>) -> NameConstraints {
        NameConstraints {
            permitted: Subtrees::of(parsed.permitted_subtrees.as_deref()),
            excluded: Subtrees::of(parsed.excluded_subtrees.as_deref()),
        }
    }

    /// Whether a certificate below may carry `text` where the gateway compares names.
    pub fn allow(&self, text: &str) -> bool {
        let (permitted, excluded) = (&self.permitted, &self.excluded);
        if let Ok(address) = text.parse() {
            return self.allow_address(address);
        }
        if reads_as_uri(text) && (permitted.uri || excluded.uri) {
            return false;
        }
        if text.contains('@') {
            let within = |bases: &[Box<str>]| bases.iter().any(|base| email_within(text, base));
            return (permitted.email.is_empty() || within(&permitted.email))
                && !within(&excluded.email);
        }
        if !reads_as_host(text) {
            return true;
        }
        let within = |base: &str| host_within(text, base);
        let reaches = |base: &str| within(base) || wildcard_reaches(text, base);
        (permitted.dns.is_empty() || permitted.dns.iter().any(|base| within(base)))
            && !excluded.dns.iter().any(|base| reaches(base))
    }

    fn allow_address(&self, address: IpAddr) -> bool {
        let octets = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let within = |bases: &[Box<[u8]>]| bases.iter().any(|base| address_within(&octets, base));
        (self.permitted.ip.is_empty() || within(&self.permitted.ip)) && !within(&self.excluded.ip)
    }
}

impl Subtrees {
    fn of(parsed: Option<&[GeneralSubtree<'_>]>) -> Subtrees {
        let mut subtrees = Subtrees::default();
        for subtree in parsed.unwrap_or_default() {
            match &subtree.base {
                GeneralName::DNSName(base) => subtrees.dns.push((*base).into()),
                GeneralName::RFC822Name(base) => subtrees.email.push((*base).into()),
                GeneralName::IPAddress(base) => subtrees.ip.push((*base).into()),
                GeneralName::URI(_) => subtrees.uri = true,
                GeneralName::OtherName(..)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::RegisteredID(_)
                | GeneralName::Invalid(..) => {}
            }
        }
        subtrees
    }
}

/// Two labels at least, as OpenSSL asks of a common name: a single word is no host's name.
fn reads_as_host(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let name = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.trim_end_matches('.').contains('.') && name.split('.').all(label)
}

/// RFC 3986 §3.1: a scheme and a colon.
fn reads_as_uri(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

/// The base itself or anything below it; below only where it begins with a dot. An empty one is around everything.
fn host_within(text: &str, base: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    if base.is_empty() {
        return true;
    }
    let Some(start) = text.len().checked_sub(base.len()) else {
        return false;
    };
    let same_end = text
        .get(start..)
        .is_some_and(|end| end.eq_ignore_ascii_case(base));
    let whole_labels = base.starts_with('.') || start == 0 || text[..start].ends_with('.');
    same_end && whole_labels && (start > 0 || !base.starts_with('.'))
}

/// Whether `*.rest` stands for a name that is the base.
fn wildcard_reaches(text: &str, base: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    text.strip_prefix("*.").is_some_and(|rest| {
        let base = base.strip_prefix('.').unwrap_or(base);
        base.split_once('.')
            .is_some_and(|(_, above)| above.eq_ignore_ascii_case(rest))
    })
}

/// RFC 5280 §4.2.1.10: one mailbox, all of a host, or with a leading dot all below a domain.
fn email_within(text: &str, base: &str) -> bool {
    let Some((local, host)) = text.rsplit_once('@') else {
        return false;
    };
    if base.is_empty() {
        return true;
    }
    match base.rsplit_once('@') {
        Some((base_local, base_host)) => {
            local == base_local && host.eq_ignore_ascii_case(base_host)
        }
        None if base.starts_with('.') => host_within(host, base),
        None => host.eq_ignore_ascii_case(base),
    }
}

/// `base`: an address and a mask of the same length.
fn address_within(octets: &[u8], base: &[u8]) -> bool {
    if base.len() != octets.len() * 2 {
        return false;
    }
    let (network, mask) = base.split_at(octets.len());
    (octets.iter().zip(network).zip(mask))
        .all(|((octet, network), mask)| octet & mask == network & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subtrees(bases: &[GeneralName<'static>]) -> Option<Vec<GeneralSubtree<'static>>> {
        let subtree = |base: &GeneralName<'static>| GeneralSubtree { base: base.clone() };
        Some(bases.iter().map(subtree).collect())
    }

    /// Names allowed and names that are not.
    #[track_caller]
    fn check(
        permitted: &[GeneralName<'static>],
        excluded: &[GeneralName<'static>],
        allowed: &[&str],
        refused: &[&str],
    ) {
        let constraints = NameConstraints::of(&Parsed {
            permitted_subtrees: subtrees(permitted),
            excluded_subtrees: subtrees(excluded),
        });
        for text in allowed {
            assert!(constraints.allow(text), "{text:?}");
        }
        for text in refused {
            assert!(!constraints.allow(text), "{text:?}");
        }
    }

    use GeneralName::{DNSName, IPAddress, RFC822Name, URI};

    #[test]
    fn hosts_are_held_to_dns_constraints() {
        check(
            &[DNSName("a.test"), DNSName(".c.test")],
            &[DNSName("secret.a.test")],
            &[
                "a.test",
                "A.Test",
                "x.a.test.",
                "*.y.a.test",
                "x.c.test",
                "admin",
                "Acme Inc.",
                "bob@b.test",
                "é.test",
                "10.0.0.1",
                "",
            ],
            &[
                "b.test",
                "xa.test",
                "x.test",
                "a.test.b.test",
                "c.test",
                "*.test",
                "*.a.test",
                "x.secret.a.test",
                "Secret.A.test",
                "admin.b.test.",
                "under_score.b.test",
            ],
        );
        check(&[], &[DNSName("")], &["admin"], &["a.test"]);
        check(&[DNSName("")], &[], &["a.test"], &[]);
    }

    #[test]
    fn mailboxes_are_held_to_rfc822_constraints() {
        check(
            &[
                RFC822Name("root@a.test"),
                RFC822Name("b.test"),
                RFC822Name(".c.test"),
            ],
            &[RFC822Name("x.c.test")],
            &["root@A.test", "any@b.test", "any@y.c.test", "any.a.test"],
            &[
                "Root@a.test",
                "any@x.b.test",
                "any@c.test",
                "any@x.c.test",
                "a@b.test@evil.test",
            ],
        );
    }

    #[test]
    fn addresses_are_held_to_ip_constraints() {
        check(
            &[IPAddress(&[10, 0, 0, 0, 255, 0, 0, 0])],
            &[IPAddress(&[10, 9, 0, 0, 255, 255, 0, 0])],
            &["10.1.2.3", "a.test"],
            &["10.9.0.1", "11.0.0.1", "::1"],
        );
    }

    #[test]
    fn no_uri_is_allowed_where_uris_are_constrained() {
        check(
            &[URI("a.test")],
            &[],
            &["a.test", "bob@a.test", "1:x"],
            &["spiffe://a.test/x", "urn:x"],
        );
    }
}
