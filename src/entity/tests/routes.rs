//! `routes` (KONG.md §1.6).
use super::{ID, accepted, refused, table};
use crate::entity::Kind;
use crate::limits::ROUTE_REGEX_TEXT_SIZE_MAX;
use serde_json::json;

#[test]
fn routes_refuse_what_kong_refuses() {
    let twin = "failed conditional validation given value of field 'protocols'";
    table(
        Kind::Routes,
        &[
            (
                "1.6",
                json!({}),
                "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https')",
            ),
            (
                "1.6",
                json!({"hosts": []}),
                "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https')",
            ),
            (
                "1.6",
                json!({"protocols": ["http"]}),
                "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http')",
            ),
            (
                "1.6",
                json!({"protocols": ["grpcs"]}),
                "schema violation (must set one of 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'grpcs')",
            ),
            (
                "1.6",
                json!({"protocols": ["grpc"]}),
                "schema violation (must set one of 'hosts', 'headers', 'paths' when 'protocols' is 'grpc')",
            ),
            (
                "1.6",
                json!({"protocols": ["tcp"]}),
                "schema violation (must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or 'udp')",
            ),
            (
                "1.6",
                json!({"protocols": ["tls_passthrough"]}),
                "schema violation (must set snis when 'protocols' is 'tls_passthrough')",
            ),
            (
                "1.6",
                json!({"protocols": []}),
                "schema violation (protocols: length must be at least 1)",
            ),
            (
                "1.6",
                json!({"protocols": ["http", "x"], "hosts": ["a"]}),
                "schema violation (protocols.2: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp)",
            ),
            (
                "1.6",
                json!({"protocols": ["http"], "paths": ["/"], "snis": ["a"]}),
                &format!(
                    "2 schema violations ({twin}; snis: 'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough')"
                ),
            ),
            (
                "1.6",
                json!({"paths": ["/"], "sources": [{"ip": "1.1.1.1"}]}),
                &format!(
                    "2 schema violations ({twin}; sources: cannot set 'sources' when 'protocols' is 'http' or 'https')"
                ),
            ),
            (
                "1.6",
                json!({"protocols": ["grpc"], "hosts": ["a"], "methods": ["GET"]}),
                &format!(
                    "2 schema violations ({twin}; methods: cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs')"
                ),
            ),
            (
                "1.6",
                json!({"protocols": ["grpc"], "hosts": ["a"], "strip_path": true}),
                &format!(
                    "2 schema violations ({twin}; strip_path: cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs')"
                ),
            ),
            (
                "1.6",
                json!({"protocols": ["tcp"], "hosts": ["a"], "sources": [{"port": 1}]}),
                &format!(
                    "2 schema violations ({twin}; hosts: cannot set 'hosts' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp')"
                ),
            ),
            (
                "1.6",
                json!({"methods": ["get"]}),
                "schema violation (methods.1: invalid value: get)",
            ),
            (
                "1.6",
                json!({"hosts": ["*"]}),
                "schema violation (hosts.1: invalid wildcard: must be placed at leftmost or rightmost label)",
            ),
            (
                "1.6",
                json!({"hosts": ["*.a.*"]}),
                "schema violation (hosts.1: invalid wildcard: must have at most one wildcard)",
            ),
            (
                "1.6",
                json!({"hosts": ["a.*.b"]}),
                "schema violation (hosts.1: invalid wildcard: must be placed at leftmost or rightmost label)",
            ),
            (
                "1.6",
                json!({"hosts": ["a b"]}),
                "schema violation (hosts.1: invalid hostname: a b)",
            ),
            (
                "1.6",
                json!({"hosts": ["a:x"]}),
                "schema violation (hosts.1: invalid port number)",
            ),
            (
                "1.6",
                json!({"paths": ["x"]}),
                "schema violation (paths.1: should start with: / (fixed path) or ~/ (regex path))",
            ),
            (
                "1.6",
                json!({"paths": ["/a//b"]}),
                "schema violation (paths.1: must not have empty segments)",
            ),
            (
                "1.6",
                json!({"paths": ["/ok", "/a/../b"]}),
                "schema violation (paths.2: non-normalized path, consider use '/b' instead)",
            ),
            (
                "1.6",
                json!({"paths": ["/%61%2f"]}),
                "schema violation (paths.1: non-normalized path, consider use '/a%2F' instead)",
            ),
            (
                "1.6",
                json!({"paths": ["/{x}"]}),
                "schema violation (paths.1: invalid path: '/{x}' (characters outside of the reserved list of RFC 3986 found))",
            ),
            (
                "1.6",
                json!({"headers": {"Host": ["x"]}}),
                "schema violation (headers: cannot contain 'host' header, which must be specified in the 'hosts' attribute)",
            ),
            (
                "1.6",
                json!({"headers": {"x": []}}),
                "schema violation (headers.x: length must be at least 1)",
            ),
            (
                "1.6",
                json!({"headers": ["x"]}),
                "schema violation (headers: expected a map)",
            ),
            (
                "1.6",
                json!({"snis": ["a*b.c"]}),
                "schema violation (snis.1: wildcard must be leftmost or rightmost character)",
            ),
            (
                "1.6",
                json!({"snis": ["*.a.*"]}),
                "schema violation (snis.1: only one wildcard must be specified)",
            ),
            // The router cannot take these: Kong stores them.
            (
                "3.1",
                json!({"paths": ["/a?b"]}),
                "schema violation (paths: '/a?b': byte 2 of the path: '?' or '#' is not part of a path)",
            ),
            (
                "3.1",
                json!({"protocols": ["https"], "snis": ["*a.test"]}),
                "schema violation (snis: invalid wildcard: must be placed at leftmost or rightmost label)",
            ),
            (
                "1.6",
                json!({"hosts": ["a"], "https_redirect_status_code": 303}),
                "schema violation (https_redirect_status_code: expected one of: 426, 301, 302, 307, 308)",
            ),
            (
                "1.6",
                json!({"hosts": ["a"], "path_handling": "v2"}),
                "schema violation (path_handling: expected one of: v0, v1)",
            ),
            (
                "1.6",
                json!({"protocols": ["http", "tcp"], "hosts": ["a"], "sources": [{"port": 1}]}),
                &format!(
                    "5 schema violations (these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp'), ('tls_passthrough'), ('grpc', 'grpcs'); {twin}; {twin}; hosts: cannot set 'hosts' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'; sources: cannot set 'sources' when 'protocols' is 'http' or 'https')"
                ),
            ),
            (
                "2.5",
                json!({"hosts": ["a"], "service": "x"}),
                "schema violation (service.id: missing primary key)",
            ),
            (
                "2.5",
                json!({"hosts": ["a"], "service": {"id": 1}}),
                "schema violation (service.id: expected a valid UUID)",
            ),
            (
                "2.5",
                json!({"hosts": ["a"], "service": {"name": "x"}}),
                "foreign key unresolved (service.name: the foreign key cannot be resolved with '{name=\"x\"}' for an existing 'services' entity)",
            ),
        ],
    );
    // A regex of no dialect is the path's own error, one that the router's dialect lacks the entity's.
    let (message, fields) = refused(
        Kind::Routes,
        json!({"paths": ["/a", "~/payment/(docs|health))", "~/a(?=b)"]}),
    );
    let text = "invalid regex: '/payment/(docs|health))' (unopened group)";
    assert_eq!(message, format!("schema violation (paths.2: {text})"));
    assert_eq!(fields, json!({"paths": [null, text]}));
    let (message, fields) = refused(Kind::Routes, json!({"paths": ["~/a(?=b)"]}));
    assert_eq!(
        message,
        "schema violation (Router Expression failed validation: '/a(?=b)': look-around, including look-ahead and \
         look-behind, is not supported)"
    );
    assert!(fields["@entity"].is_array());
    // §2.5: the list of element errors, with nulls for the gaps.
    let (_, fields) = refused(Kind::Routes, json!({"hosts": ["a", "*", "b", "*"]}));
    let text = "invalid wildcard: must be placed at leftmost or rightmost label";
    assert_eq!(fields, json!({"hosts": [null, text, null, text]}));
}

#[test]
fn routes_are_completed() {
    let row = accepted(
        Kind::Routes,
        json!({"hosts": ["A.example.com:80", "*.b", "c.*", "1.2.3.4", "[::1]:5"], "service": {"name": "billing"},
               "headers": {"x-a": ["~*^b$"]}, "paths": ["/", "~/x/\\d+$"]}),
    );
    assert_eq!(row["service"], json!({"id": ID}));
    assert_eq!(row["protocols"], json!(["http", "https"]));
    assert_eq!(row["strip_path"], true);
    assert_eq!(row["hosts"][0], "A.example.com:80");
    let row = accepted(Kind::Routes, json!({"protocols": ["grpc"], "hosts": ["a"]}));
    assert_eq!(row["strip_path"], false);
}

/// Compiling is what costs: one megabyte of `\pL` takes two gigabytes before it is too large.
#[test]
fn a_regex_that_would_take_all_memory() {
    let text = |size: usize| format!("/{}", "a".repeat(size - 1));
    let at = |path: String, header: String| json!({"paths": [path], "headers": {"x-a": [header]}});
    let most = ROUTE_REGEX_TEXT_SIZE_MAX;
    accepted(
        Kind::Routes,
        at(format!("~{}", text(most)), format!("~*{}", text(most))),
    );
    let reason = "Router Expression failed validation: regex is longer than 16384 bytes";
    let more = text(most + 1);
    let (_, fields) = refused(Kind::Routes, at(format!("~{more}"), format!("~*{more}")));
    assert_eq!(fields, json!({"@entity": [reason, reason]}));
    // Nor is it parsed: each of its characters would be a node.
    let (_, fields) = refused(Kind::Routes, json!({"paths": [format!("~{more})")]}));
    assert_eq!(fields, json!({"@entity": [reason]}));
}
