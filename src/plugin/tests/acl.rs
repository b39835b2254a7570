use super::*;

#[test]
fn acl_decides_by_the_right_groups() {
    struct Case {
        consumer: Option<&'static [&'static str]>,
        credential: bool,
        authenticated: &'static [&'static str],
    }
    let case = |consumer, credential, authenticated| Case {
        consumer,
        credential,
        authenticated,
    };
    const GOLD: Option<&[&str]> = Some(&["silver", "gold"]);
    const NO_ACLS: Option<&[&str]> = Some(&[]);
    let no = "403 You cannot consume this service";
    let unauthorized = "401 Unauthorized";
    let always = json!({"allow": ["gold"], "always_use_authenticated_groups": true});
    let hidden = json!({"allow": ["gold"], "hide_groups_header": true});
    let (allow, deny) = (
        json!({"allow": ["gold"], "deny": null}),
        json!({"deny": ["gold"]}),
    );
    let table = [
        ("nobody", &allow, case(None, false, &[]), unauthorized),
        ("nobody, deny", &deny, case(None, false, &[]), unauthorized),
        ("no group, credential", &allow, case(None, true, &[]), no),
        (
            "no group, credential, deny",
            &deny,
            case(None, true, &[]),
            no,
        ),
        (
            "authenticated",
            &allow,
            case(None, true, &["gold"]),
            "X-Authenticated-Groups: gold",
        ),
        (
            "authenticated, other",
            &allow,
            case(None, true, &["Gold"]),
            no,
        ),
        (
            "authenticated, denied",
            &deny,
            case(None, true, &["gold"]),
            no,
        ),
        (
            "authenticated, not denied",
            &deny,
            case(None, true, &["tin"]),
            "X-Authenticated-Groups: tin",
        ),
        (
            "anonymous, authenticated",
            &allow,
            case(NO_ACLS, false, &["gold"]),
            "X-Authenticated-Groups: gold",
        ),
        (
            "anonymous, authenticated other",
            &allow,
            case(GOLD, false, &["tin"]),
            no,
        ),
        (
            "both, always=false",
            &allow,
            case(GOLD, true, &["tin"]),
            "X-Consumer-Groups: gold, silver",
        ),
        (
            "both, always=false, other",
            &allow,
            case(Some(&["tin"]), true, &["gold"]),
            no,
        ),
        (
            "both, always=true",
            &always,
            case(Some(&["tin"]), true, &["gold"]),
            "X-Authenticated-Groups: gold",
        ),
        (
            "both, always=true, other",
            &always,
            case(GOLD, true, &["tin"]),
            no,
        ),
        (
            "always=true, none authenticated",
            &always,
            case(GOLD, true, &[]),
            "X-Consumer-Groups: gold, silver",
        ),
        (
            "consumer",
            &allow,
            case(GOLD, true, &[]),
            "X-Consumer-Groups: gold, silver",
        ),
        ("consumer, denied", &deny, case(GOLD, true, &[]), no),
        (
            "consumer, not denied",
            &deny,
            case(Some(&["tin"]), true, &[]),
            "X-Consumer-Groups: tin",
        ),
        (
            "§5.10.10 anonymous, group",
            &allow,
            case(GOLD, false, &[]),
            "X-Consumer-Groups: gold, silver",
        ),
        (
            "§5.10.10 anonymous, other",
            &allow,
            case(Some(&["tin"]), false, &[]),
            no,
        ),
        ("no acls, allow", &allow, case(NO_ACLS, true, &[]), no),
        (
            "no acls, allow, anonymous",
            &allow,
            case(NO_ACLS, false, &[]),
            unauthorized,
        ),
        ("no acls, deny", &deny, case(NO_ACLS, true, &[]), ""),
        (
            "no acls, deny, anonymous",
            &deny,
            case(NO_ACLS, false, &[]),
            "",
        ),
        ("hidden", &hidden, case(GOLD, true, &[]), ""),
        (
            "hidden, authenticated",
            &hidden,
            case(None, true, &["gold"]),
            "",
        ),
    ];
    for (rule, config, case, expected) in table {
        let groups = |groups: &[&str]| {
            groups
                .iter()
                .map(|group| Arc::from(*group))
                .collect::<Vec<Arc<str>>>()
        };
        let mut admitted = Admitted {
            consumer: case
                .consumer
                .map(|acls| Arc::new(Consumer::new(id(1), Some("c"), None, groups(acls)))),
            credential: case.credential.then(|| "credential".into()),
            authenticated_groups: groups(case.authenticated),
            ..Admitted::default()
        };
        let acl = Acl::from_config(&map(config.clone())).unwrap();
        let found = match acl.access(&mut admitted) {
            Verdict::Answer(answer) => format!("{} {}", answer.status, answer.message),
            Verdict::Continue => headers(&admitted).join("\n"),
        };
        assert_eq!(found, expected, "§5.8 {rule}");
    }
}

#[test]
fn acl_needs_exactly_one_list() {
    let table = [
        (
            json!({"allow": null, "deny": null}),
            "at least one of these fields must be non-empty: 'config.allow', 'config.deny'",
        ),
        (
            json!({"allow": [], "deny": []}),
            "at least one of these fields must be non-empty: 'config.allow', 'config.deny'",
        ),
        (
            json!({"allow": ["a"], "deny": ["b"]}),
            "only one or none of these fields must be set: 'config.allow', 'config.deny'",
        ),
    ];
    for (config, expected) in table {
        assert_eq!(Acl::from_config(&map(config)).unwrap_err(), expected);
    }
}
