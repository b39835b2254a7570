//! OPTIONS, and what a page of another origin may do (KONG.md §2.7).
//!
//! An `Origin` is echoed only when `admin_gui_url` names it: this API returns private keys, and a browser on the
//! operator's machine reaches loopback.
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, ORIGIN, VARY,
};
use hyper::{HeaderMap, header::HeaderValue};

/// The origins of `admin_gui_url`, in normal form.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// # Errors
    /// Names the URL that has no scheme or no host.
    pub fn new<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Origins, String> {
        urls.into_iter()
            .map(|url| {
                origin(url).ok_or_else(|| {
                    format!("'{url}' is not a URL of the form scheme://host[:port][/path]")
                })
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Origins)
    }

    /// Adds the fields that every answer has, errors included.
    pub fn answer(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        // A cache must not hand one origin's answer to another.
        answer.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.named(request) {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
    }

    /// Adds the fields of the 204 to OPTIONS beside those of `answer`; `methods` as in `paths::Endpoint::methods`.
    ///
    /// A foreign page learns only `Allow`, which every answer to OPTIONS has.
    pub fn preflight(&self, methods: &[&str], request: &HeaderMap, answer: &mut HeaderMap) {
        // Method names are tokens.
        let Ok(list) = HeaderValue::from_str(&methods.join(", ")) else {
            return;
        };
        answer.insert(ALLOW, list.clone());
        if request.contains_key(ORIGIN) && self.named(request).is_none() {
            return;
        }
        let asked = request.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, list);
        answer.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            asked.unwrap_or_else(|| HeaderValue::from_static("Content-Type")),
        );
    }

    /// Whether the request comes from a page of one of these origins.
    pub fn name(&self, request: &HeaderMap) -> bool {
        self.named(request).is_some()
    }

    /// The request's `Origin`, if it has one and it is one of these.
    fn named<'a>(&self, request: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let mut given = request.get_all(ORIGIN).iter();
        let (Some(value), None) = (given.next(), given.next()) else {
            return None;
        };
        let origin = origin(value.to_str().ok()?)?;
        self.0.contains(&origin).then_some(value)
    }
}

/// `scheme://host[:port]` of a URL or an `Origin` in lower case, without the scheme's own port (RFC 6454 §4).
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.trim().split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let scheme = scheme.to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    let own_port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => ":",
    };
    let host = host.strip_suffix(own_port).unwrap_or(&host);
    let host = host.strip_suffix(':').unwrap_or(host);
    (!scheme.is_empty() && !host.is_empty()).then(|| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    const URLS: [&str; 3] = [
        "https://Manager.Example/path?x",
        "http://localhost:8002",
        "http://[::1]:80/",
    ];

    fn request(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let field = |(name, value): &(HeaderName, &str)| {
            (name.clone(), HeaderValue::from_str(value).unwrap())
        };
        fields.iter().map(field).collect()
    }

    fn texts(map: &HeaderMap) -> Vec<String> {
        let mut texts: Vec<String> = map
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        texts.sort();
        texts
    }

    #[test]
    fn an_origin_is_echoed_only_when_it_is_named() {
        let origins = Origins::new(URLS).unwrap();
        for (section, origin, echoed) in [
            ("2.7", "https://manager.example", true),
            ("2.7 case", "HTTPS://MANAGER.example", true),
            ("2.7 default port", "https://manager.example:443", true),
            ("2.7 other port", "https://manager.example:444", false),
            ("2.7 other scheme", "http://manager.example", false),
            ("2.7 port", "http://localhost:8002", true),
            ("2.7 no port", "http://localhost", false),
            ("2.7 IPv6", "http://[::1]", true),
            ("2.7 null", "null", false),
            ("2.7 suffix", "https://manager.example.evil.test", false),
            ("2.7 user part", "https://manager.example@evil.test", false),
            ("2.7 empty", "", false),
        ] {
            let mut answer = HeaderMap::new();
            origins.answer(&request(&[(ORIGIN, origin)]), &mut answer);
            let mut expected = vec!["vary: Origin".to_owned()];
            if echoed {
                expected.insert(0, format!("access-control-allow-origin: {origin}"));
                expected.insert(0, "access-control-allow-credentials: true".to_owned());
            }
            assert_eq!(texts(&answer), expected, "{section}: {origin}");
            let named = origins.name(&request(&[(ORIGIN, origin)]));
            assert_eq!(named, echoed, "{section}: {origin}");
        }
    }

    #[test]
    fn without_admin_gui_url_no_page_may_read() {
        let mut answer = HeaderMap::new();
        let origins = Origins::default();
        origins.answer(&request(&[(ORIGIN, "http://localhost:8002")]), &mut answer);
        assert_eq!(texts(&answer), [""; 0]);
    }

    #[test]
    fn two_origins_are_none() {
        let mut answer = HeaderMap::new();
        let mut twice = HeaderMap::new();
        for _ in 0..2 {
            twice.append(ORIGIN, HeaderValue::from_static("http://localhost:8002"));
        }
        Origins::new(URLS).unwrap().answer(&twice, &mut answer);
        assert_eq!(texts(&answer), ["vary: Origin"]);
    }

    #[test]
    fn options_tells_the_methods() {
        let origins = Origins::new(URLS).unwrap();
        let methods = ["GET", "HEAD", "OPTIONS", "POST"];
        let list = "GET, HEAD, OPTIONS, POST";
        let ours = (ORIGIN, "http://localhost:8002");
        let foreign = (ORIGIN, "http://evil.test");
        let asked = (ACCESS_CONTROL_REQUEST_HEADERS, "content-type, x-a");
        for (section, fields, headers) in [
            ("2.7", vec![], Some("Content-Type")),
            ("2.7", vec![ours.clone()], Some("Content-Type")),
            ("2.7", vec![ours, asked.clone()], Some("content-type, x-a")),
            ("2.7 foreign", vec![foreign, asked], None),
        ] {
            let mut answer = HeaderMap::new();
            origins.preflight(&methods, &request(&fields), &mut answer);
            let mut expected = vec![format!("allow: {list}")];
            if let Some(headers) = headers {
                expected.insert(0, format!("access-control-allow-methods: {list}"));
                expected.insert(0, format!("access-control-allow-headers: {headers}"));
            }
            assert_eq!(texts(&answer), expected, "{section}: {fields:?}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in ["localhost:8002", "://x", "https://", "https:///x"] {
            let error = Origins::new([url]).unwrap_err();
            assert!(error.contains(url), "{error}");
        }
    }
}
