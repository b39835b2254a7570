mod cases;
mod changes;
mod reference;
mod work;

use super::*;

type Lines<'a> = &'a [(&'a str, &'a str)];

struct Fields<'a> {
    lines: Lines<'a>,
    /// Whether `each` is offered.
    each: bool,
}

impl Headers for Fields<'_> {
    fn any(&self, name: &str, value: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let named = |line: &str| line.to_ascii_lowercase().replace('_', "-") == name;
        self.lines
            .iter()
            .any(|(line, text)| named(line) && value(text.as_bytes()))
    }

    fn each(&self, line: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        if self.each {
            self.lines
                .iter()
                .for_each(|(name, text)| line(name.as_bytes(), text.as_bytes()));
        }
        self.each
    }
}

/// A request in tests; `..REQUEST` fills in the rest.
#[derive(Clone, Copy, Debug)]
struct Request<'a> {
    method: &'a str,
    host: &'a str,
    port: u16,
    /// Normalised.
    path: &'a str,
    tls: Option<Option<&'a str>>,
    headers: Lines<'a>,
}

const REQUEST: Request<'static> = Request {
    method: "GET",
    host: "a.test",
    port: 8443,
    path: "/",
    tls: None,
    headers: &[],
};

fn find(router: &Router, request: &Request, scratch: &mut Scratch) -> Option<Match> {
    let ask = |each, scratch: &mut Scratch| {
        let query = Query {
            method: request.method.as_bytes(),
            host: request.host.as_bytes(),
            port: request.port,
            path: request.path.as_bytes(),
            tls: request.tls,
            headers: &Fields {
                lines: request.headers,
                each,
            },
        };
        router.find(&query, scratch)
    };
    let by_name = ask(false, scratch);
    assert_eq!(
        ask(true, scratch),
        by_name,
        "{request:?}: the same with Headers::each and without"
    );
    by_name
}

/// A route in tests: `hosts=`, `paths=` and so on, values parted by commas, fields by spaces; `headers=name:v1,v2`.
fn route(handle: u32, text: &str) -> RouteSpec {
    let mut spec = RouteSpec {
        id: Uuid::from_u128(u128::from(handle) + 1),
        handle,
        ..RouteSpec::default()
    };
    for field in text.split_whitespace() {
        let (name, values) = field.split_once('=').expect("name=values");
        let list = |values: &str| values.split(',').map(str::to_owned).collect::<Vec<_>>();
        match name {
            "methods" => spec.methods = list(values),
            "hosts" => spec.hosts = list(values),
            "paths" => spec.paths = list(values),
            "snis" => spec.snis = list(values),
            "headers" => {
                let (name, values) = values.split_once(':').expect("name:values");
                spec.headers.push((name.to_owned(), list(values)));
            }
            "regex_priority" => spec.regex_priority = values.parse().expect("a number"),
            _ => panic!("no field {name}"),
        }
    }
    spec
}

fn router(routes: &[&str]) -> Router {
    let specs = (0u32..)
        .zip(routes)
        .map(|(handle, text)| route(handle, text))
        .collect();
    Router::build(specs).expect("compiles")
}

fn s(text: &str) -> String {
    text.to_owned()
}
